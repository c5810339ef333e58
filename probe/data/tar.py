"""Reading members of tar files where they lie: an index of offsets made once, then one seek for each image.

Nothing is unpacked and no link is followed, so a member's name cannot lead anywhere on the disk. Only uncompressed tars
can be read from the middle.

    read_member(Path("shard-0000.tar"), "000012.jpg")       # bytes
"""

import json
import tarfile
import unicodedata
from functools import cache
from pathlib import Path

from probe.errors import UsageError

SUFFIX = ".tar"

Place = tuple[int, int]  # offset and size


def members(path: Path) -> dict[str, Place]:
    """Name (NFC) -> where its bytes are, of the regular files of a tar; of equal names the last counts, as in tar.

    Raises UsageError for a file that is no tar, is compressed, or is cut off.
    """
    status = path.stat()
    return _members(path, status.st_mtime_ns, status.st_size)


def read_member(path: Path, name: str) -> bytes:
    """Raises KeyError for a name that the tar does not have. Opens the file anew: forked processes share nothing."""
    offset, size = members(path)[name]
    return _bytes(path, offset, size)


def labels(path: Path) -> dict[str, str]:
    """Key of a WebDataset sample -> its label: the text of `key.cls`, else `label` of `key.json`."""
    found = {}
    places = members(path)
    for name in sorted(places, reverse=True):  # .json before .cls, which replaces it
        if name.endswith(".cls"):
            found[sample_key(name)] = _bytes(path, *places[name]).decode(errors="replace").strip()
        elif name.endswith(".json"):
            label = _json_label(path, name, _bytes(path, *places[name]))
            if label is not None:
                found[sample_key(name)] = label
    return found


def sample_key(name: str) -> str:
    """What the files of one WebDataset sample share: the name up to the first dot behind the last slash."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.split(".", 1)[0]


@cache
def _members(path: Path, _modified: int, _size: int) -> dict[str, Place]:
    try:
        with tarfile.open(path, "r:") as tar:
            return {
                unicodedata.normalize("NFC", member.name.removeprefix("./")): (member.offset_data, member.size)
                for member in tar
                if member.isreg() and not member.issparse()
            }
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UsageError(
            f"{path} cannot be read as an uncompressed tar ({error}); unpack it, or replace it by a whole one."
        ) from error


def _bytes(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def _json_label(path: Path, name: str, content: bytes) -> str | None:
    try:
        fields = json.loads(content)
    except ValueError as error:
        raise UsageError(f"{path}: its member {name} is not JSON ({error}); correct it or write a manifest.") from error
    label = fields.get("label") if isinstance(fields, dict) else None
    if label is None or isinstance(label, str | int):
        return None if label is None else str(label)
    raise UsageError(f"{path}: the label in its member {name} is neither text nor a number; write a manifest.")
