"""What the application does with an index, in ordinary functions: they run in threads, and know nothing of HTTP.

service = Service(Index.open("photos.index"), Limits())
service.thumbnail("photos/a.jpg", px=320)       # WebP
"""

import threading
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from probe.data import content_digest
from probe.embed import Contributions, contributions
from probe.errors import ProbeError, UsageError
from probe.index import Box, FitRecord, Index
from probe.serve.failures import WrongHits, find_failures
from probe.serve.limits import Limits
from probe.serve.refusals import Refused
from probe.serve.uploads import decoded, part_of

QUALITY = 80  # of a thumbnail
SMALLEST, LARGEST = 16, 2048  # px of one


@dataclass(frozen=True)
class Embedded:
    """An image, as it is searched for."""

    vector: np.ndarray
    """(d,)."""
    fit: FitRecord | None
    """What its vector was projected by, where the index has a projection of its own."""


class Service:
    """May be called from any thread."""

    def __init__(self, index: Index, limits: Limits) -> None:
        self.index, self.limits = index, limits
        self._failures: tuple[int, WrongHits] | None = None
        self._finding = threading.Lock()

    def embedded_upload(self, content: bytes, box: Box | None) -> Embedded:
        """Raises Refused for what is no image, or too large a one."""
        return self._embedded(part_of(decoded(content, self.limits), box, self.limits))

    def embedded_part(self, id: str, box: Box) -> Embedded:
        """Of a part of an image of the index."""
        return self._embedded(part_of(self.image(id), box, self.limits))

    def _embedded(self, image: Image.Image) -> Embedded:
        if self.index.manifest.embedder is None:
            raise Refused(409, "the vectors of this index were made elsewhere, so that no image can be; name a row.")
        fit = self.index.manifest.fit  # before it is embedded: then it is of this one, or the search finds another
        return Embedded(self.index.embedder.encode(image)[0], fit)

    def why_upload(self, content: bytes, box: Box | None, hit: str) -> tuple[Contributions, Contributions]:
        """Of the query and of the hit. Raises Refused for a backbone that cannot tell."""
        return self._why(part_of(decoded(content, self.limits), box, self.limits), hit)

    def why_row(self, id: str, box: Box | None, hit: str) -> tuple[Contributions, Contributions]:
        return self._why(part_of(self.image(id), box, self.limits), hit)

    def _why(self, query: Image.Image, hit: str) -> tuple[Contributions, Contributions]:
        image, vector = self.image(hit), self._embedded(query).vector
        try:
            of_hit = contributions(self.index.embedder, image, vector)
            of_query = contributions(self.index.embedder, query, self.index.vectors([hit])[0])
        except UsageError as error:
            raise Refused(409, f"why it matches cannot be told: {error}") from None
        return of_query, of_hit

    def same_as_upload(self, content: bytes) -> frozenset[str]:
        """Ids of the files with these bytes."""
        return frozenset(self.index.state.ids_of_files([content_digest(content)]))

    def same_as_row(self, id: str) -> frozenset[str]:
        """The id, and those of copies of its file."""
        digest = self.row(id).get("digest")
        return frozenset([id, *(() if digest is None else self.index.state.ids_of_files([digest]))])

    def row(self, id: str) -> dict[str, Any]:
        """Its columns. Raises Refused where there is none."""
        rows = self.index.state.rows_with(pl.Series("id", [id], pl.String))
        if rows.is_empty():
            raise Refused(404, "the index has no row of this id; search, or look through its rows.")
        return rows.to_dicts()[0]

    def rows(self, contains: str, start: int, count: int) -> tuple[int, pl.DataFrame]:
        """How many ids have this text in them, and some of their rows, ordered by id."""
        frame = self.index.frame
        found = frame.filter(pl.col("id").str.contains(contains, literal=True)) if contains else frame
        return len(found), found.slice(start, count)

    def image(self, id: str) -> Image.Image:
        """Of a row. Raises Refused where there is none: only what the index has is ever looked for on disk."""
        self.row(id)
        try:
            return self.index.image(id)
        except UsageError:
            raise Refused(404, "this row has no image file; it was added as a vector.") from None
        except ProbeError:
            raise Refused(404, "the image file of this row is gone, or cannot be read; update the index.") from None

    def thumbnail(self, id: str, px: int) -> bytes:
        """WebP, its longer side at most so long."""
        image = self.image(id)
        image.thumbnail((px, px), Image.Resampling.LANCZOS, reducing_gap=2)
        content = BytesIO()
        image.save(content, "WEBP", quality=QUALITY, method=2)
        return content.getvalue()

    def failures(self) -> WrongHits:
        """Of the present state; looked for once, whoever asks."""
        with self._finding:
            state = self.index.manifest.state
            if self._failures is None or self._failures[0] != state:
                self._failures = state, find_failures(self.index)
            return self._failures[1]
