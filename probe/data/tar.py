"""Reading members of tar files where they lie: an index of offsets made once and kept, then one seek for each image.

Nothing is unpacked and no link is followed, so a member's name cannot lead anywhere on the disk. Only uncompressed tars
can be read from the middle. A tar is read to the end of its file: a damaged header is not its end.

    read_member(Path("shard-0000.tar"), "000012.jpg")       # bytes
"""

import errno
import json
import tarfile
import unicodedata
from functools import cache
from pathlib import Path

from probe.data.tar_index import Place, header_digest, keep, kept
from probe.errors import UsageError

SUFFIX = ".tar"
BLOCK_BYTES = 1 << 20


def members(path: Path) -> dict[str, Place]:
    """Name (NFC) -> where its bytes are, of the regular files of a tar; of equal names the last counts, as in tar.

    Raises UsageError for a file that is no tar, is compressed, damaged, or cut off.
    """
    status = path.stat()
    return _members(path, status.st_mtime_ns, status.st_size)


def read_member(path: Path, name: str) -> bytes:
    """Raises KeyError for a name that the tar does not have. Opens the file anew: forked processes share nothing."""
    return _content(path, members(path)[name])


def labels(path: Path) -> dict[str, str]:
    """Key of a WebDataset sample -> its label: the text of `key.cls`, else `label` of `key.json`."""
    found = {}
    places = members(path)
    for name in sorted(places, reverse=True):  # .json before .cls, which replaces it
        if name.endswith(".cls"):
            found[sample_key(name)] = _content(path, places[name]).decode(errors="replace").strip()
        elif name.endswith(".json"):
            label = _json_label(path, name, _content(path, places[name]))
            if label is not None:
                found[sample_key(name)] = label
    return found


def sample_key(name: str) -> str:
    """What the files of one WebDataset sample share: the name up to the first dot behind the last slash."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.split(".", 1)[0]


@cache
def _members(path: Path, _modified: int, _size: int) -> dict[str, Place]:
    status = path.stat()
    found = kept(path, status)
    if found is None or not _is_of(path, found):
        found = _places(path, status.st_size)
        keep(path, status, found)
    return found


def _is_of(path: Path, places: dict[str, Place]) -> bool:
    """Whether the first and the last member are there: another tar may have the size and the time of the one before."""
    ends = sorted(places.values())
    return all(_header(path, place) == place.header for place in (*ends[:1], *ends[-1:]))


def _places(path: Path, size: int) -> dict[str, Place]:
    found: dict[str, Place] = {}
    try:
        with tarfile.open(path, "r:") as tar, path.open("rb") as file:
            for member in tar:
                if member.offset_data + member.size > size:
                    raise tarfile.TarError(f"the member at byte {member.offset:,} is longer than the file")
                if member.isreg() and not member.issparse():
                    name = unicodedata.normalize("NFC", member.name.removeprefix("./"))
                    file.seek(member.offset_data - tarfile.BLOCKSIZE)
                    header = header_digest(file.read(tarfile.BLOCKSIZE))
                    found[name] = Place(member.offset_data, member.size, header)
            _require_end(path, tar.offset)
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        raise UsageError(
            f"{path} cannot be read as an uncompressed tar ({error}); unpack it, or replace it by a whole one."
        ) from error
    return found


def _require_end(path: Path, offset: int) -> None:
    """Raises TarError unless the file goes on with nothing but zeros, two blocks at least: `tarfile` takes any header
    that it cannot read for the end."""
    with path.open("rb") as file:
        file.seek(offset)
        position = offset
        while block := file.read(BLOCK_BYTES):
            if block.count(0) < len(block):
                raise tarfile.TarError(f"there is no header of a member at byte {offset:,}, and the file goes on")
            position += len(block)
    if position - offset < 2 * tarfile.BLOCKSIZE:
        raise tarfile.TarError(f"it is cut off at byte {position:,}, without the blocks that end a tar")


def _content(path: Path, place: Place) -> bytes:
    """Raises OSError where the file ends before, or has another member there."""
    with path.open("rb") as file:
        file.seek(place.offset - tarfile.BLOCKSIZE)
        header = file.read(tarfile.BLOCKSIZE)
        content = file.read(place.size)
    if header_digest(header) != place.header:
        raise OSError(errno.EIO, "the tar has changed since it was looked through", str(path))
    if len(content) < place.size:
        raise OSError(errno.EIO, "the tar ends before its member", str(path))
    return content


def _header(path: Path, place: Place) -> int:
    with path.open("rb") as file:
        file.seek(place.offset - tarfile.BLOCKSIZE)
        return header_digest(file.read(tarfile.BLOCKSIZE))


def _json_label(path: Path, name: str, content: bytes) -> str | None:
    try:
        fields = json.loads(content)
    except ValueError as error:
        raise UsageError(f"{path}: its member {name} is not JSON ({error}); correct it or write a manifest.") from error
    label = fields.get("label") if isinstance(fields, dict) else None
    if label is None or isinstance(label, str | int):
        return None if label is None else str(label)
    raise UsageError(f"{path}: the label in its member {name} is neither text nor a number; write a manifest.")
