"""What users hand over to be embedded, one image after the other: files, folders, tars, PIL images, NumPy arrays, or
the rows of a data set of Hugging Face's `datasets`.

Nothing is read before it is asked for, and nothing is left out: what is no image raises.

    [image.name for image in list_images(["a.jpg", "photos/", pil_image, array])]
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from probe.data import (
    HuggingFaceData,
    HuggingFaceImage,
    HuggingFaceRows,
    content_digest,
    decode,
    has_image,
    image_ids,
    is_hugging_face,
    read_image,
    shard_ids,
    to_rgb,
)
from probe.errors import ProbeError, UsageError, first_line

SHOWN = 5  # missing images in an error

ImageInput = str | Path | Image.Image | np.ndarray
"""A file, a folder of images, a tar or one of its members (`shard.tar/a.jpg`), a PIL image, or (H, W, 3) uint8 RGB."""
Images = ImageInput | Iterable[ImageInput] | HuggingFaceData


class UnreadError(ProbeError):
    """An image that the system does not hand over: next time it may. `reason` says why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} cannot be read ({reason}); mend that and start again.")
        self.reason = reason


class UndecodableError(ProbeError):
    """The bytes of an image that no decoder can read; `reason` says why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} cannot be read as an image ({reason}); leave it out, or mend it.")
        self.reason = reason


@dataclass(frozen=True)
class GivenImage:
    """One image, not read yet."""

    name: str
    """For people: where it lies, or which of the inputs it is."""
    content: tuple[Path, str] | HuggingFaceImage | Image.Image
    """Root and id of a file, the row of a data set, or pixels."""

    def decode(self) -> Image.Image:
        """RGB, upright. Raises as `decode_with_digest`."""
        return self.decode_with_digest()[0]

    def decode_with_digest(self) -> tuple[Image.Image, int]:
        """RGB, upright, and the digest of the bytes that were decoded; 0 for pixels. Raises UndecodableError for bytes
        that are no image, UnreadError for what cannot be read, and UsageError for HEIC without its decoder."""
        content = self.content if isinstance(self.content, Image.Image) else self.read()
        if isinstance(content, Image.Image) and 0 in content.size:
            raise UndecodableError(self.name, "it has no pixels")
        try:
            if isinstance(content, Image.Image):
                return to_rgb(content), 0
            return decode(BytesIO(content)), content_digest(content)
        except MemoryError:
            raise
        except UsageError as error:
            raise UsageError(f"{self.name}: {error}") from error
        except Exception as error:  # decoders raise anything on hostile bytes
            raise UndecodableError(self.name, f"{type(error).__name__}: {first_line(error)}") from error

    @property
    def digest(self) -> int:
        """Of the bytes; 0 for pixels. Raises UnreadError for what cannot be read."""
        return 0 if isinstance(self.content, Image.Image) else content_digest(self.read())

    def read(self) -> bytes:
        """The bytes, of what is no pixels. Raises UnreadError for what cannot be read."""
        assert not isinstance(self.content, Image.Image)
        try:
            return self.content.read() if isinstance(self.content, HuggingFaceImage) else read_image(*self.content)
        except (OSError, KeyError) as error:
            raise UnreadError(self.name, first_line(error)) from error


def list_images(inputs: Images) -> list[GivenImage]:
    """All images of the inputs, in their order; those of a folder, or of a tar, sorted by their paths.

    Raises UsageError for what is not there, for a folder without images, and for arrays and data sets of another form.
    """
    if is_hugging_face(inputs):
        if isinstance(inputs, Mapping):
            raise UsageError(f"a data set of several splits; name one of them: {', '.join(inputs)}.")
        return [GivenImage(image.id, image) for image in HuggingFaceRows(inputs).images()]
    single = isinstance(inputs, str | Path | Image.Image) or (isinstance(inputs, np.ndarray) and inputs.ndim != 4)
    given = [inputs] if single or not isinstance(inputs, Iterable) else inputs
    missing: list[Path] = []
    images = [image for number, each in enumerate(given) for image in _images(each, f"image {number}", missing)]
    if len(missing) == 1:
        raise UsageError(f"there is no image {missing[0]}; name a file, a folder, a tar, or a member of one.")
    if missing:
        first = ", ".join(map(str, missing[:SHOWN])) + (", …" if len(missing) > SHOWN else "")
        raise UsageError(f"{len(missing):,} of the images that are named are not there: {first}; leave them out.")
    return images


def _images(given: object, name: str, missing: list[Path]) -> Iterator[GivenImage]:
    """Paths of no image are added to `missing`."""
    if isinstance(given, str | Path):
        yield from _files(Path(given).expanduser(), missing)
    elif isinstance(given, Image.Image):
        yield GivenImage(name, given)
    elif isinstance(given, np.ndarray):
        if given.ndim != 3 or given.shape[2] != 3 or given.dtype != np.uint8:
            raise UsageError(f"{name} is an array of {given.shape} {given.dtype}; images are (height, width, 3) uint8.")
        yield GivenImage(name, Image.fromarray(given))
    else:
        raise UsageError(
            f"{name} is of type {type(given).__name__}; images are paths, folders, PIL images, or (height, width, 3) "
            "uint8 arrays."
        )


def _files(path: Path, missing: list[Path]) -> Iterator[GivenImage]:
    if path.is_dir():
        root, found = path, image_ids(path)
    elif path.suffix.lower() == ".tar" and path.is_file():
        root, found = path.parent, shard_ids(path)
    else:
        root = Path(path.anchor)
        found = [path.relative_to(root).as_posix()]
        if not has_image(root, found[0]):
            missing.append(path)
    yield from (GivenImage(str(root / image), (root, image)) for image in found)
