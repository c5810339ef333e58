"""Which results are relevant to a query, and how many images there are to find.

A result is relevant when it has a label of the query and lies in the query's domain. n is the number of index images
that are relevant to a query, the query's own image not counted.

    n = relevant_counts(queries, index)                                     # (Q,)
    domains_with_something_to_find(manifest.split("val"))                   # ["cars196", "met"]
"""

import numpy as np
import polars as pl

from probe.data import LISTS, plainest

BLOCK = 16384  # queries at a time


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
