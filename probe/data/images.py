"""Where an image's bytes come from: a file below the source's root, or a member of a tar file below it.

An id that passes through a tar (`shard-0000.tar/000012.jpg`) names a member; any other id names a file.

    if has_image(root, "shard-0000.tar/000012.jpg"):
        content = read_image(root, "shard-0000.tar/000012.jpg")
"""

import errno
import hashlib
import os
import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path

from probe.data import tar
from probe.data.manifest import image_path

LISTINGS_KEPT = 64
INSIDE = re.compile(re.escape(tar.SUFFIX) + "/", re.IGNORECASE)


def has_image(root: Path, image: str) -> bool:
    """Raises UsageError when the image lies in a tar that cannot be read."""
    path, member = _locate(root, image)
    return path.is_file() if member is None else member in tar.members(path)


def missing_images(root: Path, images: Iterable[str]) -> list[str]:
    """Those of `images` that are not there, in order. Each folder and tar is listed once, whatever its size.

    Raises UsageError when an image lies in a tar that cannot be read.
    """
    listing = lru_cache(LISTINGS_KEPT)(lambda place: _listing(root / place))

    def is_listed(image: str) -> bool:
        inside = INSIDE.search(image)
        place, name = (image[: inside.end() - 1], image[inside.end() :]) if inside else os.path.split(image)
        return name in listing(place)

    return [image for image in images if not is_listed(image) and not has_image(root, image)]


def _listing(place: Path) -> Collection[str]:
    """The files in a folder or a tar; none for what is not there, or not under this form of its name."""
    if place.suffix.lower() == tar.SUFFIX and place.is_file():
        return tar.members(place)
    try:
        with os.scandir(place) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()


def read_image(root: Path, image: str) -> bytes:
    """Raises OSError or KeyError when the image is gone."""
    path, member = _locate(root, image)
    if member is not None:
        return tar.read_member(path, member)
    if not path.is_file() and path.exists():
        raise OSError(errno.EINVAL, "it is no regular file", str(path))  # a pipe would be waited for
    return path.read_bytes()


def content_digest(content: bytes) -> int:
    """64-bit BLAKE2b of an image file's bytes, never 0, which means unknown."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little") or 1


def _locate(root: Path, image: str) -> tuple[Path, str | None]:
    """The file that holds the image, and its name in there where that file is a tar."""
    for found in INSIDE.finditer(image):
        path = image_path(root, image[: found.end() - 1])
        if path.is_file():
            return path, image[found.end() :]
    return image_path(root, image), None
