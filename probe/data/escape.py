"""File names outside ASCII as they lie on disk: composed or not, and as unzip escapes them where it cannot write them
as they are: `#U` and four digits for each character, `#L` and six beyond U+FFFF.

RP2K's folders are Chinese, and its archive is extracted either way; an image's id has the characters themselves (NFC).

escaped("train/农夫/1.jpg")                   # train/#U519c#U592b/1.jpg
on_disk(root, "train/农夫/1.jpg")             # root/train/#U519c#U592b/1.jpg, where that is there
"""

import re
import unicodedata
from functools import lru_cache
from pathlib import Path

ESCAPE = re.compile(r"#U([0-9a-fA-F]{4})|#L((?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4})")
LISTINGS_KEPT = 64


def escaped(name: str) -> str:
    return "".join(each if each.isascii() else _escape(ord(each)) for each in name)


def unescaped(name: str) -> str:
    """NFC."""
    return unicodedata.normalize("NFC", ESCAPE.sub(lambda match: chr(int(match[1] or match[2], 16)), name))


def on_disk(root: Path, name: str) -> Path:
    """Where the file lies whose unescaped path this is; the path itself where there is none."""
    place = root
    for part in name.split("/"):
        exact = place / part
        if not exact.exists():
            try:
                found = _listing(place, place.stat().st_mtime_ns).get(part)
            except OSError:
                found = None
            if found is None:
                return root / name
            exact = place / found
        place = exact
    return place


@lru_cache(LISTINGS_KEPT)
def _listing(folder: Path, _changed: int) -> dict[str, str]:
    """Unescaped name -> name."""
    return {unescaped(name): name for name in (path.name for path in folder.iterdir())}


def _escape(character: int) -> str:
    return f"#U{character:04x}" if character <= 0xFFFF else f"#L{character:06x}"
