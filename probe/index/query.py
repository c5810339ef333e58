"""What is searched for: an image or a part of it, the mean of several, one without what another has.

Query("shoes, not red", images=list_images(["a.jpg", "b.jpg"]), minus=list_images("red.jpg"))
Query("the bag", list_images("street.jpg"), box=Box(120, 40, 200, 220))
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from PIL import Image

from probe.embed import Embedder, GivenImage, Images, list_images
from probe.errors import UsageError


class Box(NamedTuple):
    """A part of an upright image, in its pixels: left, top, width, height."""

    x: int
    y: int
    w: int
    h: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`120,40,200,220`. Raises UsageError for anything else."""
        try:
            box = cls(*(int(number) for number in text.split(",")))
        except (TypeError, ValueError) as error:
            raise UsageError(f"a box is x,y,w,h in pixels, such as 120,40,200,220, not '{text}'.") from error
        if box.x < 0 or box.y < 0 or box.w < 1 or box.h < 1:
            raise UsageError(f"the box {text} has no pixel; x and y are 0 or more, w and h are 1 or more.")
        return box


@dataclass(frozen=True)
class Query:
    """Raises UsageError where there is no image, and for a box of several."""

    name: str
    images: Sequence[GivenImage]
    """Their mean is searched for."""
    minus: Sequence[GivenImage] = ()
    """Their mean is taken away from it."""
    box: Box | None = None
    """The part of the one image."""

    def __post_init__(self) -> None:
        if not self.images:
            raise UsageError("a query is of one image or more; name one.")
        if self.box and len(self.images) > 1:
            raise UsageError("a box is of one image; name one, or leave the box out.")

    @property
    def files(self) -> list[GivenImage]:
        """All images that it is made of."""
        return [*self.images, *self.minus]


def queries_of(given: Images | Sequence[Query]) -> Sequence[Query]:
    """Each image a query, where they are images."""
    if isinstance(given, Sequence) and given and isinstance(given[0], Query):
        return given  # type: ignore[return-value]
    return [Query(image.name, [image]) for image in list_images(given)]  # type: ignore[arg-type]


def vectors_of(
    queries: Sequence[Query], embedder: Embedder, advance: Callable[[int], object] = lambda images: None
) -> np.ndarray:
    """Of one query or more, (Q, d) float32. `advance`: told of how many images more.

    Raises ProbeError for an image that cannot be read, UsageError for a query of which nothing is left, and for a box
    that is outside of its image.
    """
    images = [image for query in queries for image in _pixels(query)]
    embedded = _embedded(images, embedder, advance)
    ends = np.cumsum([len(query.files) for query in queries])
    return np.stack(
        [_combined(query, rows) for query, rows in zip(queries, np.split(embedded, ends[:-1]), strict=True)]
    )


def _combined(query: Query, rows: np.ndarray) -> np.ndarray:
    """(n, d) embeddings of its images -> (d,)."""
    if len(rows) == 1:
        return rows[0]
    plus, minus = rows[: len(query.images)], rows[len(query.images) :]
    vector = plus.mean(axis=0) - (minus.mean(axis=0) if len(minus) else 0)
    if not vector.any():
        raise UsageError(f"nothing is left of {query.name}: what is taken away is the same; leave it out.")
    return vector


def _embedded(images: list[GivenImage], embedder: Embedder, advance: Callable[[int], object]) -> np.ndarray:
    """(n, d)."""
    rows: list[np.ndarray] = []
    for batch in embedder.embed(images, batch_size=64):
        batch.require_whole()
        rows.append(batch.embeddings)
        advance(len(batch.images))
    return np.concatenate(rows)


def _pixels(query: Query) -> list[GivenImage]:
    return [_part(query.images[0], query.box), *query.minus] if query.box else query.files


def _part(image: GivenImage, box: Box) -> GivenImage:
    whole: Image.Image = image.decode()
    if box.x + box.w > whole.width or box.y + box.h > whole.height:
        raise UsageError(
            f"the box {','.join(map(str, box))} goes beyond {image.name}, of {whole.width} x {whole.height} pixels; "
            "name a smaller one."
        )
    return GivenImage(image.name, whole.crop((box.x, box.y, box.x + box.w, box.y + box.h)))
