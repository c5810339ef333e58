"""Is what was exported the original? On up to 50 images, its embeddings are compared with the run's own.

images = verification_images(run, None, data_root)
verify("ONNX", embedder.encode(images.pixels), found, NEAR)     # 0.9999998
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from probe.data import has_image
from probe.embed import Images, UndecodableError, list_images
from probe.errors import ProbeError, UsageError
from probe.runs import RunDirectory

COUNT = 50
SAME = 0.99999
"""The least cosine of the same computation."""
NEAR = 0.9999
"""And of another program's."""
SIDES = (96, 512)  # pixels, of images that are made


@dataclass(frozen=True)
class VerificationImages:
    """Decoded."""

    pixels: list[Image.Image]
    origin: str
    """In words."""


def verification_images(run: RunDirectory, given: Images | None, data_root: Path) -> VerificationImages:
    """Up to 50 of those given; else of the run's queries, where they lay or below the data root; else made ones."""
    if given is not None:
        images = list_images(given)
        if not images:
            raise UsageError("there is no image to verify the export on; name some.")
        return VerificationImages([image.decode() for image in _spread(images)], "given images")
    if found := _queries(run, data_root):
        return VerificationImages([image.decode() for image in list_images(_spread(found))], "queries of the run")
    if found := _training_images(run):
        return VerificationImages(found, "images of the run's folders")
    origin = f"made images, since the run's lie neither where they lay nor in {data_root}"
    return VerificationImages(_made(), origin)


def verify(what: str, expected: np.ndarray, found: np.ndarray, least: float) -> float:
    """The lowest cosine of two (N, d) embeddings, image by image. Raises ProbeError where it is below `least`.

    Of vectors of other lengths it is 1 - ‖a - b‖² / (2 ‖a‖ ‖b‖), which is the cosine where lengths are equal.
    """
    if found.shape != expected.shape or not np.isfinite(found).all():
        raise ProbeError(f"{what} gives embeddings of {found.shape}, not of {expected.shape}; nothing was written.")
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1)
    cosine = float((1 - ((expected - found) ** 2).sum(axis=1) / (2 * lengths)).min())
    if not cosine >= least:
        raise ProbeError(
            f"{what} gives other embeddings than the run: the lowest cosine of {len(found)} images is {cosine:.6f}, "
            f"below {least:g}; nothing was written."
        )
    return cosine


def _spread(images: Sequence) -> list:
    """COUNT of them, evenly spaced."""
    return [images[row] for row in np.unique(np.linspace(0, len(images) - 1, COUNT).round().astype(int))]


def _queries(run: RunDirectory, data_root: Path) -> list[Path]:
    """Those of the run's test split that are here."""
    if not run.indexes:
        return []
    rows = run.per_query(run.indexes[0]).select("source", "image").unique(maintain_order=True).sort("source", "image")
    named = _spread(list(rows.iter_rows()))
    placed = [(run.environment.folder_of(source, data_root), image) for source, image in named]
    return [folder / image for folder, image in placed if has_image(folder, image)]


def _training_images(run: RunDirectory) -> list[Image.Image]:
    """Of a run that has searched nothing, of the folders that its images lay in, what can be decoded."""
    folders = [folder for folder in run.environment.images.values() if folder.is_dir()]
    if run.indexes or not folders:
        return []
    decoded = []
    for image in _spread(list_images(folders)):
        with suppress(UndecodableError):
            decoded.append(image.decode())
    return decoded


def _made() -> list[Image.Image]:
    """Smooth colours of random sizes, and noise: the same ones always."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(COUNT):
        coarse = rng.integers(0, 256, (*rng.integers(2, 24, 2), 3), np.uint8)
        width, height = (int(side) for side in rng.integers(*SIDES, 2))
        images.append(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return images
