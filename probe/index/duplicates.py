"""Near-duplicates in an index, or between two: all pairs of images that are more similar than a threshold, in groups.

Which test images are in the training set? The pairs are exact, found by matrix products of blocks of rows; what grows
with the index are its ids and columns, and the pairs that are found.

    found = near_pairs(index, None, 0.95)
    found.pairs            # a, b, similarity, group
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from probe.errors import UsageError
from probe.index.index import Index
from probe.index.page import Section, page, pictures
from probe.index.segment import Segment
from probe.search import Vectors, paired_similarities

ROWS = 4096  # of a block: a product of two takes 64 MB
ROUNDING = 1e-5  # far more than that of a float32 product of unit vectors
MOST = 5_000_000  # pairs, which are some hundred megabytes


@dataclass(frozen=True)
class NearDuplicates:
    pairs: pl.DataFrame
    """(P, ...) `a` and `b`, ids, of which a comes first, or is of the index and b of the other one; `similarity`,
    their exact cosine; `group`, from 1 on: images that are joined by a chain of pairs. The most similar pair first."""
    threshold: float

    @property
    def groups(self) -> int:
        return self.pairs["group"].n_unique()


def near_pairs(
    index: Index, against: Index | None, threshold: float, advance: Callable[[int], None] = lambda comparisons: None
) -> NearDuplicates:
    """The pairs of an index (N), or of it and another one (M), whose cosine is `threshold` or more.

    `advance`: told the comparisons done, N * N / 2 or N * M in all. Raises UsageError for indexes whose vectors cannot
    be compared, and where there are more pairs than a person could look at.
    """
    if not -1 < threshold <= 1:
        raise UsageError(f"a cosine is never {threshold}; name a threshold such as 0.95.")
    if "euclidean" in (index.manifest.distance, against.manifest.distance if against else ""):
        raise UsageError("near-duplicates are told by cosine; these vectors are compared by Euclidean distance.")
    if against is not None:
        _require_comparable(index, against)
    found = [pl.DataFrame(schema={"a": pl.String, "b": pl.String, "similarity": pl.Float64})]
    count = 0
    for number, segment in enumerate(index.state.segments):
        others = against.state.segments if against else index.state.segments[number:]
        for other in others:
            for pairs in _between(segment, other, threshold, advance):
                found.append(pairs)
                count += len(pairs)
                if count > MOST:
                    raise UsageError(
                        f"there are more than {MOST:,} pairs above {threshold:g}; name a higher threshold."
                    )
    pairs = pl.concat(found)
    if against is None:
        pairs = pairs.with_columns(a=pl.min_horizontal("a", "b"), b=pl.max_horizontal("a", "b"))
    grouped = _grouped(pairs, apart=against is not None)
    return NearDuplicates(grouped.sort("similarity", "a", "b", descending=[True, False, False]), threshold)


def duplicates_page(found: NearDuplicates, index: Index, against: Index | None, most: int = 500) -> str:
    """An HTML page of the groups, the largest first; at most so many."""
    sections = []
    groups = found.pairs.group_by("group", maintain_order=True)
    ordered = sorted(groups, key=lambda group: -group[1].height)
    for (number,), pairs in ordered[:most]:
        a, b = pairs["a"].unique(maintain_order=True), pairs["b"].unique(maintain_order=True)
        images = [(index, image) for image in (a if against else pl.concat([a, b]).unique(maintain_order=True))]
        images += [(against, image) for image in b] if against else []
        opened = [lambda of=of, image=image: of.image(image) for of, image in images]
        lines = [[f"{'' if of is index else 'in the other: '}{image}"] for of, image in images]
        span = f"{pairs['similarity'].min():.4f} to {pairs['similarity'].max():.4f}"
        sections.append(Section(f"Group {number}: {len(images)} images, {span}", pictures(opened, lines)))
    less = f", of which {most} are shown" if len(ordered) > most else ""
    other = f" against {against.path}" if against else ""
    note = f"{found.pairs.height:,} pairs of {found.threshold:g} or more in {found.groups:,} groups"
    return page("Near-duplicates", f"{index.path}{other}: {note}{less}", sections)


def _require_comparable(index: Index, against: Index) -> None:
    identities = [each.manifest.embedder and each.manifest.embedder.identity for each in (index, against)]
    fits = [each.manifest.fit and each.manifest.fit.digest for each in (index, against)]
    if fits[0] != fits[1]:
        raise UsageError(
            f"{index.path} or {against.path} is fitted to its own collection, so that their vectors cannot be "
            "compared; make both without --fit-to-collection."
        )
    if identities[0] != identities[1] or index.manifest.dim != against.manifest.dim:
        raise UsageError(f"{against.path} is not of the embedder of {index.path}; make both by one run.")


def _between(
    segment: Segment, other: Segment, threshold: float, advance: Callable[[int], None]
) -> Iterator[pl.DataFrame]:
    """Frames of pairs of two segments, or of the pairs of one."""
    rows, others = segment.rows, other.rows
    for start in range(0, len(rows), ROWS):
        some = rows[start : start + ROWS]
        left = _unit(segment, some)
        for first in range(start if other is segment else 0, len(others), ROWS):
            these = others[first : first + ROWS]
            products = left @ (left if other is segment and first == start else _unit(other, these)).T
            at, of = (products >= threshold - ROUNDING).nonzero(as_tuple=True)
            a, b = some[at.numpy()], these[of.numpy()]
            if other is segment:
                a, b = a[a < b], b[a < b]
            advance(len(some) * len(these))
            if len(a):
                exact = paired_similarities(Vectors(segment.vectors, a), Vectors(other.vectors, b))
                near = exact >= threshold
                yield pl.DataFrame(
                    {
                        "a": segment.frame["id"].gather(a[near]),
                        "b": other.frame["id"].gather(b[near]),
                        "similarity": exact[near],
                    }
                )


def _unit(segment: Segment, rows: np.ndarray) -> torch.Tensor:
    """(n, d) float32."""
    vectors = Vectors(segment.vectors, rows).block(0, len(rows)).double()
    return torch.nn.functional.normalize(vectors, dim=1).float()


def _grouped(pairs: pl.DataFrame, apart: bool) -> pl.DataFrame:
    """With the group of each pair, numbered in the order of their first ids; `apart`: ids of two indexes."""
    if pairs.is_empty():
        return pairs.with_columns(group=pl.lit(None, pl.Int64))
    names = pairs.select(a=pl.lit("a") + pl.col("a"), b=pl.lit("b" if apart else "a") + pl.col("b"))
    nodes = pl.concat([names["a"], names["b"]]).unique().sort()
    numbers = pl.int_range(len(nodes), eager=True)
    a, b = (names[name].replace_strict(nodes, numbers, return_dtype=pl.Int64).to_numpy() for name in "ab")
    graph = coo_array((np.ones(len(pairs), np.int8), (a, b)), shape=(len(nodes), len(nodes)))
    _, labels = connected_components(graph, directed=False)
    return pairs.with_columns(group=pl.Series(labels[a] + 1, dtype=pl.Int64))
