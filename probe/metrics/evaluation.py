"""Scoring embeddings on a benchmark: what each query finds, per-query values, domain means and their balanced mean.

The index is merged (every query searches the images of all domains) or separate (those of its own domain).
docs/evaluation.md defines all.

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
from probe.metrics.metric import METRICS, Metric, parse_metric, require_official
from probe.metrics.relevance import class_numbers, relevant_counts, relevant_hits
from probe.metrics.scores import INDEXES, PROTOCOLS, Scores, SplitScores, summarize
from probe.metrics.split import SearchGroup, SplitSearches
from probe.progress import OnProgress, track_if_long
from probe.search import Distance, Neighbours, Vectors, paired_similarities, search

NEIGHBOURS = 10


@dataclass(frozen=True)
class Evaluation:
    """What a split scores."""

    per_query: dict[str, pl.DataFrame]
    """By index, a row a query with n, its neighbours, their hits and its values (clean)."""
    scores: SplitScores


def evaluate(
    frame: pl.DataFrame,
    embeddings: torch.Tensor | Vectors,
    *,
    distance: Distance = "cosine",
    metrics: Sequence[str] = METRICS,
    indexes: Sequence[str] = INDEXES,
    protocols: Sequence[str] = PROTOCOLS,
    neighbours: int = NEIGHBOURS,
    progress: OnProgress | None = None,
) -> Evaluation:
    """Scores the queries of `frame` (manifest rows of one split) against its index rows.

    embeddings (N, d), row by row. `neighbours`: how many of each query are named. Queries with nothing to find are
    counted and left out of the means. The official scores are of those metrics that have an official rule; where none
    has, there are none. `progress`: told how many of all comparisons are done; by default they are shown when they take
    long. Raises UsageError when there are no queries, no index, or no query that has anything to find, for an unknown
    metric, index or protocol, and where the official protocol alone is asked for and a metric has no official rule.
    """
    for given, known, what in ((indexes, INDEXES, "index"), (protocols, PROTOCOLS, "protocol")):
        for name in given:
            _require_known(name, known, what)
    chosen = [parse_metric(name) for name in metrics]
    if "clean" not in protocols:
        require_official(metrics)
    with_official = [metric for metric in chosen if metric.has_official] if "official" in protocols else []
    scorer = _Scorer(frame, embeddings, distance, chosen, with_official, neighbours)
    found = scorer.score(indexes, progress)
    scores: dict[str, dict[str, Scores]] = {}
    if "clean" in protocols:
        names = [metric.name for metric in chosen]
        scores["clean"] = {index: summarize(each.clean, names) for index, each in found.items()}
    if with_official:
        names = [metric.name for metric in with_official]
        scores["official"] = {index: summarize(each.official, names, "official") for index, each in found.items()}
    return Evaluation({index: each.clean for index, each in found.items()}, SplitScores.model_validate(scores))


def _require_known(name: str, known: Sequence[str], what: str) -> None:
    if name not in known:
        raise UsageError(f"'{name}' is no {what}; {nearest(name, known)}")


@dataclass(frozen=True)
class _QueryTables:
    """A row a query."""

    clean: pl.DataFrame
    """As in `Evaluation.per_query`."""
    official: pl.DataFrame
    """Domain, n and values; without values where no official ones are asked for."""

    @classmethod
    def joined(cls, tables: Sequence["_QueryTables"], order: np.ndarray) -> "_QueryTables":
        return cls(
            pl.concat([each.clean for each in tables])[order], pl.concat([each.official for each in tables])[order]
        )


@dataclass(frozen=True)
class _Scorer:
    frame: pl.DataFrame
    embeddings: torch.Tensor | Vectors
    distance: Distance
    metrics: Sequence[Metric]
    official_metrics: Sequence[Metric]
    """Those of them to be scored by the official protocol too."""
    neighbours: int

    def score(self, indexes: Sequence[str], progress: OnProgress | None) -> dict[str, _QueryTables]:
        """By index, in the frame's order. Raises UsageError where no query has anything to find."""
        split = SplitSearches(self.frame)
        searched = {index: "merged" if split.has_one_domain else index for index in indexes}
        groups = {index: split.groups(index) for index in dict.fromkeys(searched.values())}
        total = sum(group.comparisons for each in groups.values() for group in each)
        done = 0
        with ExitStack() as stack:
            report = progress or stack.enter_context(track_if_long("search", "comparisons"))
            report(0, total)

            def advance(comparisons: int) -> None:
                nonlocal done
                done += comparisons
                report(done, total)

            found = {index: self._score_groups(each, advance) for index, each in groups.items()}
        return {index: found[same] for index, same in searched.items()}

    def _score_groups(self, groups: Sequence[SearchGroup], advance: Callable[[int], None]) -> _QueryTables:
        order = np.argsort(np.concatenate([group.queries for group in groups]))
        found = _QueryTables.joined([self._score_group(group, advance) for group in groups], order)
        if found.clean["n"].max() == 0:
            raise UsageError(
                f"nothing to score: none of the {len(order):,} queries has another image of its class to find."
            )
        return found

    def _score_group(self, group: SearchGroup, advance: Callable[[int], None]) -> _QueryTables:
        queries, index = self.frame[group.queries], self.frame[group.index]
        n = relevant_counts(queries, index)
        most_relevant = int(n.max(initial=0))
        found = self._search(group, most_relevant, advance)
        of_query, of_row = class_numbers(queries, index)
        of_image = np.where(group.image_rows >= 0, of_row[group.image_rows], 0) if len(of_row) else group.image_rows
        hits = relevant_hits(of_query, of_image, found.rows)
        names = index.select("source", "image")[group.image_rows[:, 0]]
        clean = queries.select("image", "source", "domain", "label").with_columns(
            pl.Series("n", n),
            *_neighbour_lists(names, found, hits, self.neighbours),
            *(pl.Series(metric.name, metric.values(hits, n)) for metric in self.metrics),
        )
        if not self.official_metrics:
            return _QueryTables(clean, queries.select("domain"))
        count = min(_depth(self.official_metrics, most_relevant) + 1, len(group.index))
        ranked = official.ranked_rows(found, group.own_image, self._own_similarities(group), group.image_rows, count)
        hits = relevant_hits(of_query, of_row[:, None], ranked)
        n, dropped = official.official_counts(queries, index), official.drops_first(queries)
        values = [
            pl.Series(each.name, official.official_values(each, hits, n, dropped)) for each in self.official_metrics
        ]
        return _QueryTables(clean, queries.select("domain").with_columns(pl.Series("n", n - dropped), *values))

    def _search(self, group: SearchGroup, most_relevant: int, advance: Callable[[int], None]) -> Neighbours:
        if not len(group.image_rows):
            shape = (len(group.queries), 0)
            return Neighbours(np.empty(shape, np.int64), np.empty(shape))
        depth = max(_depth(self.metrics, most_relevant), self.neighbours)
        if self.official_metrics:  # which take the query itself for a result
            depth = max(depth, _depth(self.official_metrics, most_relevant) + 1)
        queries, index = self._vectors.take(group.queries), self._vectors.take(group.images)
        own = np.column_stack([group.in_index, group.own_image[group.in_index]])
        return search(queries, index, min(depth, len(group.image_rows)), own, self.distance, advance)

    def _own_similarities(self, group: SearchGroup) -> np.ndarray:
        """(Q,) float64 of each query to its own image in the index, as the search has it; -inf where it has none."""
        similarities = np.full(len(group.own_image), -np.inf)
        own = group.images[group.own_image[group.in_index]]
        queries = group.queries[group.in_index]
        similarities[group.in_index] = paired_similarities(
            self._vectors.take(queries), self._vectors.take(own), self.distance
        )
        return similarities

    @property
    def _vectors(self) -> Vectors:
        return self.embeddings if isinstance(self.embeddings, Vectors) else Vectors(self.embeddings)


def _depth(metrics: Sequence[Metric], most_relevant: int) -> int:
    """How many results they look at."""
    return max(metric.depth(most_relevant) for metric in metrics)


def _neighbour_lists(names: pl.DataFrame, found: Neighbours, hits: np.ndarray, count: int) -> list[pl.Series]:
    """Columns of lists, one a query, of its first `count` neighbours, where it has so many."""
    rows = found.rows[:, :count]
    valid = rows >= 0
    named = names[np.where(valid, rows, 0).ravel()] if len(names) else names.clear(rows.size)
    columns = {
        "neighbours": named["image"],
        "neighbour_sources": named["source"],
        "similarities": pl.Series(found.similarities[:, :count].ravel()),
        "hits": pl.Series(hits[:, :count].ravel()),
    }
    return [_as_lists(values.alias(name), valid) for name, values in columns.items()]


def _as_lists(values: pl.Series, valid: np.ndarray) -> pl.Series:
    """(Q * count,) values as Q lists of those that are valid (Q, count)."""
    if valid.size == 0:
        return pl.Series(values.name, [[]] * len(valid), dtype=pl.List(values.dtype))
    of_valid = values.to_frame().select(pl.when(pl.Series(valid.ravel())).then(pl.col(values.name)))
    return of_valid.to_series().reshape(valid.shape).arr.to_list().list.drop_nulls()
