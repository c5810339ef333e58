"""File names outside ASCII as unzip writes them where it cannot write them as they are: `#U` and four digits each.

RP2K's folders are Chinese, and its archive is extracted either way; an image's id has the characters themselves.

escaped("train/农夫/1.jpg")     # train/#U519c#U592b/1.jpg
"""

import re
import unicodedata

ESCAPE = re.compile(r"#U([0-9a-fA-F]{4})")


def escaped(name: str) -> str:
    return "".join(each if each.isascii() else f"#U{ord(each):04x}" for each in name)


def unescaped(name: str) -> str:
    """NFC."""
    return unicodedata.normalize("NFC", ESCAPE.sub(lambda match: chr(int(match[1], 16)), name))
