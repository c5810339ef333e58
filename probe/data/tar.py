"""Reading members of tar files where they lie: an index of offsets made once and kept, then one seek for each image.

Nothing is unpacked and no link is followed, so a member's name cannot lead anywhere on the disk. Only uncompressed tars
can be read from the middle. A tar is read to the end of its file, and so are several that `cat` has joined: neither a
damaged header nor the zeros behind the first are its end.

    read_member(Path("shard-0000.tar"), "000012.jpg")       # bytes
"""

import errno
import json
import tarfile
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO

from probe.data.tar_index import Place, header_digest, keep, kept
from probe.errors import UsageError

SUFFIX = ".tar"
BLOCK_BYTES = 1 << 20
END_BYTES = 2 * tarfile.BLOCKSIZE


def members(path: Path) -> dict[str, Place]:
    """Name (NFC) -> where its bytes are, of the regular files of a tar; of equal names the last counts, as in tar.

    Raises UsageError for a file that is no tar, is compressed, damaged, or cut off, and for two members whose names
    become one in NFC.
    """
    status = path.stat()
    return _members(path, status.st_mtime_ns, status.st_size)


def read_member(path: Path, name: str) -> bytes:
    """Raises KeyError for a name that the tar does not have. Opens the file anew: forked processes share nothing."""
    return _content(path, members(path)[name])


def labels(path: Path) -> dict[str, str]:
    """Key of a WebDataset sample -> its label: the text of `key.cls`, else `label` of `key.json`.

    Raises UsageError for a sample with two labels, as those of `img.00.jpg` and `img.01.jpg`, whose key is `img`.
    """
    found: dict[str, str] = {}
    for suffix in (".json", ".cls"):  # which replaces the former
        of_suffix: dict[str, tuple[str, str]] = {}  # label and member
        for name, place in members(path).items():
            if not name.endswith(suffix):
                continue
            label = _label(path, name, _content(path, place))
            key = sample_key(name)
            if label is not None and of_suffix.setdefault(key, (label, name))[0] != label:
                raise UsageError(
                    f"{path}: the sample '{key}' has two labels, in {of_suffix[key][1]} and in {name}: the name of a "
                    "WebDataset sample ends at its first dot; write its names without dots, or a manifest."
                )
        found |= {key: label for key, (label, _) in of_suffix.items()}
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
    written: dict[str, str] = {}  # NFC -> as it stands
    try:
        with path.open("rb") as file:
            for own, place in _regular_files(file, size):
                name = unicodedata.normalize("NFC", own)
                if written.setdefault(name, own) != own:
                    raise tarfile.TarError(f"its members {written[name]!a} and {own!a} become one name")
                found[name] = place
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        raise UsageError(
            f"{path} cannot be read as an uncompressed tar ({error}); unpack it, or replace it by a whole one."
        ) from error
    return found


def _regular_files(file: BinaryIO, size: int) -> Iterator[tuple[str, Place]]:
    """Those of one tar, and of all that follow it in the file."""
    start = 0
    while start < size or not size:
        file.seek(start)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.offset_data + member.size > size:
                    raise tarfile.TarError(f"the member at byte {member.offset:,} is longer than the file")
                if member.isreg() and not member.issparse():
                    file.seek(member.offset_data - tarfile.BLOCKSIZE)
                    header = header_digest(file.read(tarfile.BLOCKSIZE))
                    yield member.name.removeprefix("./"), Place(member.offset_data, member.size, header)
        start = _next_tar(file, start, tar.offset)


def _next_tar(file: BinaryIO, start: int, end: int) -> int:
    """Where another tar follows the one from `start` whose members end at `end`; where the file ends, if none does.

    Raises TarError for anything but the zeros that end a tar, two blocks at least, which fill its last record where
    another one follows: `tarfile` takes any header that it cannot read for the end.
    """
    file.seek(end)
    position = end
    while (block := file.read(BLOCK_BYTES)) and not block.strip(b"\0"):
        position += len(block)
    position += (len(block) - len(block.lstrip(b"\0"))) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
    zeros = position - end
    if block and (zeros < END_BYTES or (position - start) % tarfile.RECORDSIZE):
        raise tarfile.TarError(f"there is no header of a member at byte {end:,}, and the file goes on")
    if zeros < END_BYTES:
        raise tarfile.TarError(f"it is cut off at byte {position:,}, without the blocks that end a tar")
    return position


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


def _label(path: Path, name: str, content: bytes) -> str | None:
    """What a .cls or a .json says; None for a .json without `label`."""
    if name.endswith(".cls"):
        return content.decode(errors="replace").strip()
    try:
        fields = json.loads(content)
    except ValueError as error:
        raise UsageError(f"{path}: its member {name} is not JSON ({error}); correct it or write a manifest.") from error
    label = fields.get("label") if isinstance(fields, dict) else None
    if label is None or isinstance(label, str | int):
        return None if label is None else str(label)
    if isinstance(label, float):
        raise UsageError(
            f"{path}: the label in its member {name} is {label}, and a fraction is no class; write a whole number or "
            "text there, or a manifest."
        )
    raise UsageError(f"{path}: the label in its member {name} is neither text nor a whole number; write a manifest.")
