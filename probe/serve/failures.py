"""Where a labelled index goes wrong: rows whose nearest other file has another label.

find_failures(index).wrong
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from probe.index import SEVERAL, Index

QUERIES = 2000  # searched at most
LABELLED = "label IS NOT NULL AND label <> ''"


@dataclass(frozen=True)
class WrongHits:
    labelled: int
    findable: int
    queries: int
    failures: list[tuple[dict[str, Any], dict[str, Any]]]
    """Of a query and its first hit the columns; the most similar first."""


def find_failures(index: Index) -> WrongHits:
    """Of at most QUERIES rows, evenly spaced by id, those whose first hit among the labelled rows is wrong.

    Copies of a query's file are left out, and so are queries whose label no other file has. Labels of two domains never
    meet; a row of several labels matches by any of them.
    """
    frame = index.frame
    if "label" not in frame.columns:
        return WrongHits(0, 0, 0, [])
    file = pl.coalesce(pl.col("digest").cast(pl.String), "id") if "digest" in frame.columns else pl.col("id")
    domain = pl.col("domain").fill_null("") if "domain" in frame.columns else pl.lit("")
    labelled = frame.filter(pl.sql_expr(LABELLED))
    rows = labelled.with_columns(_file=file, _domain=domain, _labels=pl.col("label").str.split(SEVERAL))
    each = rows.select("id", "_file", "_domain", "_labels").explode("_labels")
    files = each.group_by("_domain", "_labels").agg(files=pl.col("_file").n_unique())
    findable = each.join(files, on=["_domain", "_labels"]).filter(pl.col("files") > 1)["id"].unique()
    candidates = rows.filter(pl.col("id").is_in(findable.implode()))
    step = max(1, -(-len(candidates) // QUERIES))
    queries = candidates.gather_every(step)
    return WrongHits(len(labelled), len(candidates), len(queries), _wrong(index, rows, queries))


def _wrong(index: Index, rows: pl.DataFrame, queries: pl.DataFrame) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    if queries.is_empty():
        return []
    same = rows.group_by("_file").agg(copies=pl.col("id"))
    copies = queries.join(same, on="_file", how="left", maintain_order="left")["copies"].to_list()
    vectors: np.ndarray = index.vectors(queries["id"].to_list())
    hits = index.search(vectors, 1, where=LABELLED, exclude=copies).frame
    known = rows.select("id", "_domain", "_labels")
    found = hits.join(known, on="id", how="left", maintain_order="left").to_dicts()
    asked = queries.to_dicts()
    wrong = [(asked[hit["query"]], hit) for hit in found if not _match(asked[hit["query"]], hit)]
    ordered = sorted(wrong, key=lambda pair: -pair[1]["similarity"])
    return [(_without_own(query), _without_own(hit)) for query, hit in ordered]


def _without_own(columns: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in columns.items() if name not in ("_file", "_domain", "_labels")}


def _match(query: dict[str, Any], hit: dict[str, Any]) -> bool:
    return query["_domain"] == hit["_domain"] and bool(set(query["_labels"]) & set(hit["_labels"]))
