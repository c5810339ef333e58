"""Scoring embeddings on a benchmark: what each query finds, per-query values, domain means and their balanced mean.

The index is merged (every query searches the images of all domains) or separate (those of its own domain). Results are
images: one that several index rows list, a row for each of its labels, takes one rank. docs/evaluation.md defines all.

evaluation = evaluate(frame, embeddings)
evaluation.scores.of("clean", "merged").mean["mMP@5"]
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from probe.errors import UsageError, nearest
from probe.metrics import official
from probe.metrics.metric import METRICS, Metric, class_numbers, parse_metric, relevant_counts, relevant_hits
from probe.metrics.scores import INDEXES, PROTOCOLS, Scores, SplitScores, summarize
from probe.progress import Report, track_if_long
from probe.search.search import DISTANCES, Distance, Neighbours, search
from probe.search.vectors import Vectors

KEPT = 10


@dataclass(frozen=True)
class Evaluation:
    """What a split scores."""

    per_query: dict[str, pl.DataFrame]
    """By index, a row a query with n, its neighbours, their hits and its values (clean)."""
    scores: SplitScores


@dataclass(frozen=True)
class _Task:
    """What is asked of a search."""

    metrics: list[Metric]
    kept: int
    official: bool
    distance: Distance

    @property
    def rank(self) -> int:
        """The last one that counts."""
        return max(metric.k for metric in self.metrics)

    @property
    def depth(self) -> int:
        """How many images to find for each query."""
        return max(self.rank + self.official, self.kept)


def evaluate(
    frame: pl.DataFrame,
    embeddings: torch.Tensor | Vectors,
    *,
    distance: Distance = "cosine",
    metrics: Sequence[str] = METRICS,
    indexes: Sequence[str] = INDEXES,
    protocols: Sequence[str] = PROTOCOLS,
    kept: int = KEPT,
    progress: Report | None = None,
) -> Evaluation:
    """Scores the queries of `frame` (manifest rows of one split) against its index rows.

    embeddings (N, d), row by row. `kept`: how many neighbours of each query are named. Queries with nothing to
    find are counted and left out of the means. `progress`: told how many of all comparisons are done; by default they
    are shown when they take long. Raises UsageError when there are no queries, no index, or no query that
    has anything to find, and for an unknown metric, index or protocol.
    """
    for given, known, what in ((indexes, INDEXES, "index"), (protocols, PROTOCOLS, "protocol")):
        for name in given:
            require_known(name, known, what)
    task = _Task([parse_metric(name) for name in metrics], kept, "official" in protocols, distance)
    scorer = _Scorer(frame, embeddings, task)
    scored = scorer.score(indexes, progress)
    names = [metric.name for metric in task.metrics]
    scores: dict[str, dict[str, Scores]] = {protocol: {} for protocol in protocols}
    for index, (clean, published) in scored.items():
        if "clean" in protocols:
            scores["clean"][index] = summarize(clean, names)
        if published is not None:
            scores["official"][index] = summarize(published, names, "official")
    return Evaluation({index: clean for index, (clean, _) in scored.items()}, SplitScores.model_validate(scores))


def require_known(name: str, known: Sequence[str], what: str) -> None:
    """Raises UsageError for a name that is none of the known ones."""
    if name not in known:
        raise UsageError(f"'{name}' is no {what}; {nearest(name, known)}")


@dataclass(frozen=True)
class _Part:
    """Queries and the index rows that they search, as positions in the frame; `_images` of the two."""

    queries: np.ndarray  # (Q,)
    index: np.ndarray  # (R,)
    rows: np.ndarray  # (I, most) into `index`
    own: np.ndarray  # (Q,)

    @property
    def listed(self) -> np.ndarray:
        """(I,) a row of each image, as a position in the frame."""
        return self.index[self.rows[:, 0]]

    @property
    def comparisons(self) -> int:
        return len(self.queries) * len(self.rows)


Scored = tuple[pl.DataFrame, pl.DataFrame | None]  # a row a query: by the clean protocol, and by the official one


class _Scorer:
    """The rows of a frame, and for each of them a number of its image and of its domain."""

    def __init__(self, frame: pl.DataFrame, embeddings: torch.Tensor | Vectors, task: _Task) -> None:
        self.frame, self.task = frame, task
        self.vectors = embeddings if isinstance(embeddings, Vectors) else Vectors(embeddings)
        self.queries, self.index = (
            frame["role"].is_in([role, "both"]).to_numpy().nonzero()[0] for role in ("query", "index")
        )
        if not len(self.queries) or not len(self.index):
            raise UsageError(
                f"nothing to score: the split has {len(self.queries):,} queries and {len(self.index):,} index images."
            )
        self.images = _numbered(frame.select("source", "image"))
        self.domains = _numbered(frame.select("domain"))

    def score(self, indexes: Sequence[str], progress: Report | None) -> dict[str, Scored]:
        """By index, in the frame's order. Raises UsageError where no query has anything to find."""
        several = len(np.unique(self.domains)) > 1
        searches = {index: index if several else "merged" for index in indexes}  # of one domain, both are one
        parts = {search: self._parts(search) for search in dict.fromkeys(searches.values())}
        total = sum(part.comparisons for each in parts.values() for part in each)
        done = 0
        with ExitStack() as stack:
            report = progress or stack.enter_context(track_if_long("search", "comparisons"))
            report(0, total)

            def advance(comparisons: int) -> None:
                nonlocal done
                done += comparisons
                report(done, total)

            scored = {search: self._scored(each, advance) for search, each in parts.items()}
        return {index: scored[search] for index, search in searches.items()}

    def _parts(self, index: str) -> list[_Part]:
        pairs = [(self.queries, self.index)]
        if index == "separate":
            of_query, of_index = self.domains[self.queries], self.domains[self.index]
            pairs = [(self.queries[of_query == each], self.index[of_index == each]) for each in np.unique(of_query)]
        return [_Part(queries, rows, *_images(self.images[queries], self.images[rows])) for queries, rows in pairs]

    def _scored(self, parts: list[_Part], advance: Callable[[int], None]) -> Scored:
        found = [self._score(part, advance) for part in parts]
        order = np.argsort(np.concatenate([part.queries for part in parts]))
        clean = pl.concat([clean for clean, _ in found])[order]
        if clean["n"].max() == 0:
            raise UsageError(
                f"nothing to score: none of the {len(clean):,} queries has another image of its class to find."
            )
        published = [each for _, each in found if each is not None]
        return clean, pl.concat(published)[order] if published else None

    def _score(self, part: _Part, advance: Callable[[int], None]) -> Scored:
        queries, index, task = self.frame[part.queries], self.frame[part.index], self.task
        found = self._search(part, advance)
        of_query, of_row = class_numbers(queries, index)
        of_image = np.where(part.rows >= 0, of_row[part.rows], 0) if len(of_row) else part.rows
        hits, n = relevant_hits(of_query, of_image, found.rows), relevant_counts(queries, index)
        names = index.select("source", "image")[part.rows[:, 0]]
        values = [pl.Series(metric.name, metric.values(hits, n)) for metric in task.metrics]
        clean = queries.select("image", "source", "domain", "label").with_columns(
            pl.Series("n", n), *_lists(names, found, hits, task.kept), *values
        )
        if not task.official:
            return clean, None
        count = min(task.rank + 1, len(part.index))
        ranked = official.ranked_rows(found, part.own, self._own_similarities(part), part.rows, count)
        hits = relevant_hits(of_query, of_row[:, None], ranked)
        n, dropped = official.official_counts(queries, index), official.drops_first(queries)
        values = [pl.Series(each.name, official.official_values(each, hits, n, dropped)) for each in task.metrics]
        return clean, queries.select("domain").with_columns(pl.Series("n", n - dropped), *values)

    def _search(self, part: _Part, advance: Callable[[int], None]) -> Neighbours:
        if not len(part.rows):
            shape = (len(part.queries), 0)
            return Neighbours(np.empty(shape, np.int64), np.empty(shape))
        (having,) = (part.own >= 0).nonzero()
        pairs = np.column_stack([having, part.own[having]])
        queries, index = self.vectors.take(part.queries), self.vectors.take(part.listed)
        depth = min(self.task.depth, len(part.rows))
        return search(queries, index, depth, pairs, self.task.distance, advance)

    def _own_similarities(self, part: _Part) -> np.ndarray:
        """(Q,) float64 of each query to its own image in the index, as the search has it; -inf where it has none."""
        similarities = np.full(len(part.own), -np.inf)
        (having,) = (part.own >= 0).nonzero()
        exact = DISTANCES[self.task.distance].exact
        for some in np.array_split(having, len(having) // 8192 + 1):
            rows = (part.queries[some], part.listed[part.own[some]])
            similarities[some] = exact(*(self.vectors.take(each).block(0, len(each)) for each in rows)).cpu().numpy()
        return similarities


def _numbered(columns: pl.DataFrame) -> np.ndarray:
    """(N,) int64: equal rows have equal numbers."""
    return columns.select(pl.struct(pl.all()).rank("dense")).to_series().cast(pl.Int64).to_numpy()


def _images(of_query: np.ndarray, of_index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(I, most) the index rows of each distinct image, images by their first row, -1 past an image's last; and (Q,) the
    image that is each query's own, -1 where the index has it not. Given: a number of each one's image."""
    images, first, inverse = np.unique(of_index, return_index=True, return_inverse=True)
    place = np.empty(len(images), np.int64)
    place[np.argsort(first)] = np.arange(len(images))
    of_row = place[inverse]
    by_image = np.argsort(of_row, kind="stable")
    counts = np.bincount(of_row, minlength=1)
    rows = np.full((len(images), max(counts.max(), 1)), -1)
    occurrence = np.arange(len(of_row)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows[of_row[by_image], occurrence] = by_image
    at = np.searchsorted(images, of_query).clip(max=max(len(images) - 1, 0))
    own = np.where(images[at] == of_query, place[at], -1) if len(images) else np.full(len(of_query), -1)
    return rows, own


def _lists(names: pl.DataFrame, found: Neighbours, hits: np.ndarray, kept: int) -> list[pl.Series]:
    """Columns of lists, one a query, of its first `kept` neighbours, where it has so many."""
    rows = found.rows[:, :kept]
    valid = rows >= 0
    named = names[np.where(valid, rows, 0).ravel()] if len(names) else names.clear(rows.size)
    columns = {
        "neighbours": named["image"],
        "neighbour_sources": named["source"],
        "similarities": pl.Series(found.similarities[:, :kept].ravel()),
        "hits": pl.Series(hits[:, :kept].ravel()),
    }
    return [_as_lists(values.alias(name), valid) for name, values in columns.items()]


def _as_lists(values: pl.Series, valid: np.ndarray) -> pl.Series:
    """(Q * kept,) values as Q lists of those that are valid (Q, kept)."""
    if valid.size == 0:
        return pl.Series(values.name, [[]] * len(valid), dtype=pl.List(values.dtype))
    of_valid = values.to_frame().select(pl.when(pl.Series(valid.ravel())).then(pl.col(values.name)))
    return of_valid.to_series().reshape(valid.shape).arr.to_list().list.drop_nulls()
