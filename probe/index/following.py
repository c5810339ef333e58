"""Bringing an index in step with its sources: what is new is embedded, what has changed takes the place of what was.

An image is the same while its file has the same bytes; other columns of the same file are taken over without embedding
it again. Each part of some images is a commit.

    follow(writer, [list_source("photos/", data_root)], embedder, batch_size=64, show_progress=True).added
    follow_again(writer, embedder, data_root, batch_size=64, show_progress=True).replaced
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from feature_cache import Failure
from probe.data import content_digest
from probe.embed import Embedder, GivenImage
from probe.index.sources import Listing, list_again, place_of
from probe.index.writer import Writer
from probe.progress import track

PART = 1024  # images that a kill can cost at most
OF_IMAGES = {"bytes": pl.Int64, "digest": pl.UInt64, "width": pl.Int32, "height": pl.Int32}

Row = dict[str, Any]
"""The columns of an image."""


@dataclass
class Changes:
    """What came of following sources."""

    added: int = 0
    replaced: int = 0
    """Images whose file or columns are others than they were."""
    removed: int = 0
    unchanged: int = 0
    failures: list[Failure] = field(default_factory=list)
    """Images that could not be decoded, which are not in the index."""


def follow(
    writer: Writer, listings: Sequence[Listing], embedder: Embedder, batch_size: int, show_progress: bool
) -> Changes:
    """Takes in the images of sources. Raises ProbeError for an image that cannot be read now."""
    writer.register([listing.record for listing in listings])
    return _take_in(writer, _images_of(listings), embedder, batch_size, show_progress)


def follow_again(writer: Writer, embedder: Embedder, data_root: Path, batch_size: int, show_progress: bool) -> Changes:
    """Looks at all sources again, and removes what is gone from them. Raises UsageError where the folder of one is."""
    state, sources = writer.state, writer.state.manifest.sources
    listings = [list_again(each, state.ids_where("source", list(each.roots)).to_list(), data_root) for each in sources]
    before = state.ids_where("source", [name for record in sources for name in record.roots])
    changes = follow(writer, listings, embedder, batch_size, show_progress)
    gone = before.filter(~before.is_in(_images_of(listings)["id"].implode()))
    writer.remove(gone)
    changes.removed += len(gone)
    return changes


def _images_of(listings: Sequence[Listing]) -> pl.DataFrame:
    """(N, ...) The images of sources, each once, ordered by id."""
    empty = pl.DataFrame(schema={"id": pl.String, "source": pl.String})
    listed = pl.concat([empty, *(listing.frame for listing in listings)], how="diagonal")
    return listed.unique("id", keep="last").sort("id")


def _take_in(writer: Writer, images: pl.DataFrame, embedder: Embedder, batch_size: int, show_progress: bool) -> Changes:
    changes = Changes()
    with track("index", len(images), "images", shown=show_progress) as advance:
        for part in images.iter_slices(PART):
            _take_in_part(writer, part, embedder, batch_size, changes)
            advance(len(part))
    return changes


def _take_in_part(writer: Writer, part: pl.DataFrame, embedder: Embedder, batch_size: int, changes: Changes) -> None:
    roots = writer.state.manifest.roots
    there: dict[str, Row] = {row["id"]: row for row in writer.state.rows_with(part["id"]).to_dicts()}
    others: dict[str, Row] = {}
    relabelled: list[Row] = []
    for row in part.iter_rows(named=True):
        content = GivenImage(row["id"], place_of(row["id"], row["source"], roots)).read()
        row["bytes"], row["digest"] = len(content), content_digest(content)
        before = there.get(row["id"])
        if before is None or before.get("digest") != row["digest"]:
            others[row["id"]] = row
        elif _differ(before, row):
            relabelled.append(row | {"width": before["width"], "height": before["height"]})
        else:
            changes.unchanged += 1
    rows, vectors = relabelled, [writer.state.embeddings([row["id"] for row in relabelled])]
    undecodable: list[Failure] = []
    given = [GivenImage(image, place_of(image, row["source"], roots)) for image, row in others.items()]
    for batch in embedder.embed(given, batch_size) if given else ():
        for image, (width, height) in zip(batch.images, batch.sizes, strict=True):
            rows.append(others[image.name] | {"width": width, "height": height})
        vectors.append(batch.embeddings)
        undecodable += [Failure(image.name, error.reason) for image, error in batch.failures]
        for _, error in batch.unread:
            raise error
    if rows:
        writer.put(pl.DataFrame(rows, schema_overrides=OF_IMAGES, infer_schema_length=None), np.concatenate(vectors))
    lost = [failure.id for failure in undecodable if failure.id in there]  # what was in the file is not any more
    writer.remove(pl.Series("id", lost, pl.String))
    replaced = sum(row["id"] in there for row in rows)
    changes.replaced += replaced
    changes.added += len(rows) - replaced
    changes.removed += len(lost)
    changes.failures += undecodable


def _differ(before: Row, now: Row) -> bool:
    """Whether the columns are others, but for the sizes in pixels, which the bytes of the file decide."""
    names = (before.keys() | now.keys()) - {"width", "height"}
    return any(before.get(name) != now.get(name) for name in names)
