"""Retrieval metrics as the papers define them, one value for each query; averaging is the caller's.

A result is relevant when it has a label of the query and lies in the query's domain. n is the number of index images
that are relevant to a query, the query's own image not counted. A query with n = 0 has no value (NaN).

    values = parse_metric("mAP@100").values(hits, n)       # (Q,) in [0, 1]
"""

import re
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import polars as pl

from probe.data.labels import LISTS, plainest
from probe.errors import UsageError, nearest

METRICS = ("mMP@5", "R@1", "mAP@100")  # what every run is scored with
Kind = Literal["mMP", "R", "mAP"]
BLOCK = 16384  # queries at a time


@dataclass(frozen=True)
class Metric:
    """`kind` at `k`. `name` is how it is written: mMP@5."""

    kind: Kind
    k: int

    @property
    def name(self) -> str:
        return f"{self.kind}@{self.k}"

    def values(self, hits: np.ndarray, n: np.ndarray) -> np.ndarray:
        """(Q,) float64 in [0, 1], NaN where n is 0; hits (Q, any) bool, best first: past the last, nothing is found."""
        of_kind = {"mMP": mmp_at_k, "R": recall_at_k, "mAP": map_at_k}[self.kind]
        return of_kind(hits, n, self.k)


def parse_metric(name: str) -> Metric:
    """mMP@5, R@1, mAP@100 or any of the three at another k. Raises UsageError with the nearest form."""
    match = re.fullmatch(r"(mMP|R|mAP)@([1-9][0-9]{0,8})", name)
    if match is None:
        k = "".join(re.findall(r"[1-9][0-9]*", name)[:1]) or "5"
        forms = [f"{kind}@{k}" for kind in get_args(Kind)]
        same = [form for form in forms if form.casefold() == name.casefold()]
        raise UsageError(f"'{name}' is no metric; {nearest(name, same or forms)} (any mMP@k, R@k or mAP@k is)")
    return Metric(match[1], int(match[2]))  # type: ignore[arg-type]


def recall_at_k(hits: np.ndarray, n: np.ndarray, k: int) -> np.ndarray:
    """(Q,) 1 where any of the first k results is relevant (UnED eq. 1 for k = 1)."""
    return np.where(n > 0, hits[:, :k].any(axis=1).astype(np.float64), np.nan)


def mmp_at_k(hits: np.ndarray, n: np.ndarray, k: int) -> np.ndarray:
    """(Q,) modified precision: relevant among the first min(n, k) results, over min(n, k) (UnED eq. 2).

    The list is cut at min(n, k): two relevant images at ranks 4 and 5 count nothing when n = 2.
    """
    hits = hits[:, :k]
    counted = hits & (np.arange(hits.shape[1]) < n[:, None])
    return _over(counted.sum(axis=1), np.minimum(n, k))


def map_at_k(hits: np.ndarray, n: np.ndarray, k: int) -> np.ndarray:
    """(Q,) average precision: the sum over the relevant results j <= k of P(j), over min(n, k).

    P(j) is the precision of the first j results. The sum goes to k, as in UnED's code; its eq. S2 prints min(n, k).
    """
    return _over(precision_sums(hits[:, :k]), np.minimum(n, k))


def precision_sums(hits: np.ndarray) -> np.ndarray:
    """(Q, k) -> (Q,): the sum of P(j) over the relevant results j."""
    sums = np.empty(len(hits))
    ranks = np.arange(1, hits.shape[1] + 1)
    for start in range(0, len(hits), BLOCK):
        block = hits[start : start + BLOCK]
        sums[start : start + BLOCK] = (block.cumsum(axis=1) / ranks * block).sum(axis=1)
    return sums


def _over(sums: np.ndarray, depth: np.ndarray) -> np.ndarray:
    return np.divide(sums, depth, out=np.full(len(sums), np.nan), where=depth > 0)


def relevant_counts(queries: pl.DataFrame, index: pl.DataFrame) -> np.ndarray:
    """(Q,) int64: n of each query; frames with columns image, source, label and domain.

    A query of several labels looks for the images of any; an image under two of them counts once.
    """
    index = index.with_columns(plainest(index["label"]))
    if queries.schema["label"] != LISTS:
        return _counts_of_one_label(queries, index)
    several = (queries["label"].list.len() > 1).to_numpy()
    of_one = queries.filter(~several).with_columns(pl.col("label").list.first())
    counts = np.empty(len(queries), np.int64)
    counts[~several] = _counts_of_one_label(of_one, index)
    counts[several] = _counts_of_any_label(queries.filter(several), index)
    return counts


def domains_with_something_to_find(frame: pl.DataFrame) -> list[str]:
    """Domains of one split in which at least one query has another image of its class in the index, sorted."""
    queries, index = (frame.filter(pl.col("role").is_in([role, "both"])) for role in ("query", "index"))
    findable = queries.filter(pl.Series(relevant_counts(queries, index) > 0, dtype=pl.Boolean))
    return sorted(findable["domain"].unique())


def _counts_of_one_label(queries: pl.DataFrame, index: pl.DataFrame) -> np.ndarray:
    per_class = index.group_by("domain", "label").agg(pl.len().alias("n"))
    own = index.group_by("domain", "label", "source", "image").agg(pl.len().alias("own"))
    counted = queries.join(per_class, on=["domain", "label"], how="left", maintain_order="left").join(
        own, on=["domain", "label", "source", "image"], how="left", maintain_order="left"
    )
    return (counted["n"].fill_null(0) - counted["own"].fill_null(0)).cast(pl.Int64).to_numpy()


def _counts_of_any_label(queries: pl.DataFrame, index: pl.DataFrame) -> np.ndarray:
    labels = queries.with_row_index("query").explode("label")
    found = labels.join(index.select("domain", "label", found=pl.struct("source", "image")), on=["domain", "label"])
    others = found.filter(pl.col("found") != pl.struct("source", "image"))
    counted = others.group_by("query").agg(pl.col("found").n_unique())
    counts = np.zeros(len(queries), np.int64)
    counts[counted["query"].to_numpy()] = counted["found"].to_numpy()
    return counts


def relevant_hits(of_query: np.ndarray, of_result: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(Q, k) bool: which of the results found (Q, k), -1 for none, are relevant.

    of_query (Q, most) and of_result (R, most): `class_numbers`, padded with -1 and 0. One in common is enough.
    """
    hits = np.zeros(found.shape, bool)
    if not len(of_result):
        return hits
    for start in range(0, len(found), BLOCK):
        here = slice(start, start + BLOCK)
        for classes in of_result.T:
            result = classes[found[here]]
            for query in of_query[here].T:
                hits[here] |= result == query[:, None]
    return hits & (found >= 0)


def class_numbers(queries: pl.DataFrame, index: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the classes (a label in a domain) of each query (Q, most), -1 past its last, and index row (N,)."""
    labels = queries.select("domain", "label")
    counts = np.ones(len(queries), np.int64)
    if labels.schema["label"] == LISTS:
        counts = labels["label"].list.len().to_numpy().astype(np.int64)
        labels = labels.explode("label")
    of_both = pl.concat([labels, index.select("domain", plainest(index["label"]))])
    classes = of_both.select(pl.struct("domain", "label").rank("dense")).to_series().cast(pl.Int64).to_numpy()
    position = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    of_query = np.full((len(queries), counts.max(initial=1)), -1)
    of_query[np.repeat(np.arange(len(queries)), counts), position] = classes[: len(labels)]
    return of_query, classes[len(labels) :]
