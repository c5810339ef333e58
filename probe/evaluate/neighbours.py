"""What each query found, for other programs: neighbours.parquet and neighbours.json, the same rows in two forms.

A row a query: `image`, `source`, `domain` and `neighbours`, best first, each with `image`, `source`, `similarity` (the
cosine, or minus the Euclidean distance) and `hit`. The JSON is one list, a query on each of its lines.

    write_neighbours(evaluation.per_query["merged"], folder, 10)
"""

import io
from pathlib import Path

import polars as pl

NEIGHBOURS_FILE = "neighbours.parquet"
BLOCK = 16384  # queries whose JSON is text at one time
OF_NEIGHBOUR = {"neighbours": "image", "neighbour_sources": "source", "similarities": "similarity", "hits": "hit"}


def write_neighbours(per_query: pl.DataFrame, folder: Path, count: int) -> None:
    """The first `count` neighbours of each query, or as many as its row has."""
    rows = neighbour_rows(per_query, count)
    rows.write_parquet(folder / NEIGHBOURS_FILE)
    with (folder / "neighbours.json").open("wb") as file:
        file.write(b"[\n")
        for start in range(0, len(rows), BLOCK):
            lines = io.BytesIO()
            rows[start : start + BLOCK].write_ndjson(lines)
            file.write(b",\n" * (start > 0) + lines.getvalue().rstrip(b"\n").replace(b"\n", b",\n"))
        file.write(b"\n]\n")


def neighbour_rows(per_query: pl.DataFrame, count: int) -> pl.DataFrame:
    """(Q, 4), the neighbours of each query as a list of structs."""
    queries = per_query.select("image", "source", "domain").with_row_index("query")
    lists = per_query.select(pl.col(list(OF_NEIGHBOUR)).list.head(count)).with_row_index("query")
    each = lists.explode(list(OF_NEIGHBOUR)).rename(OF_NEIGHBOUR).drop_nulls()
    found = each.group_by("query", maintain_order=True).agg(neighbours=pl.struct(list(OF_NEIGHBOUR.values())))
    joined = queries.join(found, on="query", how="left", maintain_order="left").drop("query")
    return joined.with_columns(pl.col("neighbours").fill_null([]))
