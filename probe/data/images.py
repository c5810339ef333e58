"""Where an image's bytes come from: a file below the source's root, or a member of a tar file below it.

An id that passes through a tar (`shard-0000.tar/000012.jpg`) names a member; any other id names a file.

    if has_image(root, "shard-0000.tar/000012.jpg"):
        content = read_image(root, "shard-0000.tar/000012.jpg")
"""

import re
from pathlib import Path

from probe.data import tar
from probe.data.manifest import image_path

INSIDE = re.compile(re.escape(tar.SUFFIX) + "/", re.IGNORECASE)


def has_image(root: Path, image: str) -> bool:
    """Raises UsageError when the image lies in a tar that cannot be read."""
    path, member = _locate(root, image)
    return path.is_file() if member is None else member in tar.members(path)


def read_image(root: Path, image: str) -> bytes:
    """Raises OSError or KeyError when the image is gone."""
    path, member = _locate(root, image)
    return path.read_bytes() if member is None else tar.read_member(path, member)


def _locate(root: Path, image: str) -> tuple[Path, str | None]:
    """The file that holds the image, and its name in there where that file is a tar."""
    for found in INSIDE.finditer(image):
        path = image_path(root, image[: found.end() - 1])
        if path.is_file():
            return path, image[found.end() :]
    return image_path(root, image), None
