"""The gallery of a report: queries with what several runs retrieved for them, and each image once.

Recipes over the same manifest share their queries, so that any two of their runs can stand side by side. Of more than
`limit` queries each domain keeps an equal share, those whose ids have the lowest hash: the same on every machine.

    for gallery_set in gallery_sets(inventories, limit=1000):
        content, images = as_plain_data(gallery_set)        # lists for JSON, and the images that it refers to
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from probe.data import Manifest
from probe.metrics import metrics_of
from probe.planning import Inventory
from probe.report.queries import BETWEEN, KEY, descriptions, first_finished_seed, queries

NEIGHBOURS = 5  # of each query; what mMP@5 looks at
SEED = 0


@dataclass(frozen=True)
class GalleryRun:
    """What one row of a table retrieved, with its first finished seed."""

    recipe: str
    """Its title."""
    row: str
    seed: int
    retrieved: pl.DataFrame
    """A row for each query of the set, in its order."""
    trained: bool = False

    @property
    def score(self) -> float:
        """The mean over domains of its first metric, on the queries of the gallery; NaN where nothing can be found."""
        main = metrics_of(self.retrieved.columns)[0]
        by_domain = self.retrieved.group_by("domain").agg(pl.col(main).cast(pl.Float64).drop_nans().mean())
        return float(np.mean(by_domain[main].drop_nulls().to_numpy())) if len(by_domain) else float("nan")


@dataclass(frozen=True)
class GallerySet:
    """Queries of one manifest's test split."""

    name: str
    manifest: Manifest
    queries: pl.DataFrame
    """Those in the gallery."""
    query_counts: dict[str, int]
    """All queries of the split, by domain."""
    runs: list[GalleryRun]

    @property
    def opens_on(self) -> int:
        """The number of the best trained run, or of the best of all where none is trained."""
        among = [number for number, run in enumerate(self.runs) if run.trained] or range(len(self.runs))
        return max(among, key=lambda number: np.nan_to_num(self.runs[number].score, nan=-1))

    @property
    def description(self) -> str:
        """Which queries these are."""
        total, count = sum(self.query_counts.values()), len(self.queries)
        if count == total:
            return f"{self.name}: all {total:,} queries of the test split."
        kept = dict(self.queries.group_by("domain").len().iter_rows())
        parts = ", ".join(
            f"{kept.get(domain, 0):,} of {of_domain:,} {domain}" for domain, of_domain in self.query_counts.items()
        )
        return f"{self.name}: {count:,} of {total:,} queries, drawn by the hash of their ids (seed {SEED}): {parts}."


def gallery_sets(inventories: Sequence[Inventory], limit: int) -> list[GallerySet]:
    """One for each manifest that has finished runs."""
    groups: dict[str, list[Inventory]] = {}
    for inventory in inventories:
        if inventory.manifest is not None:
            groups.setdefault(inventory.manifest.digest, []).append(inventory)
    return [gallery_set for group in groups.values() if (gallery_set := _gallery_set(group, limit))]


def _gallery_set(inventories: list[Inventory], limit: int) -> GallerySet | None:
    """Of recipes that share a manifest; None without a finished run."""
    runs = [
        GalleryRun(
            _title(inventory),
            row.name,
            seed[0].config.seed,
            queries(row, seed, inventory.recipe.display.indexes[0]),
            trained=row.training is not None,
        )
        for inventory in inventories
        for row in inventory.recipe.rows
        if (seed := first_finished_seed(inventory, row))
    ]
    manifest = inventories[0].manifest
    if not runs or manifest is None:
        return None
    every = pl.concat([run.retrieved.select(*KEY, "n") for run in runs]).unique(KEY, maintain_order=True)
    chosen = choose_queries(every, limit)
    keys = chosen.select(KEY)
    runs = [replace(run, retrieved=keys.join(run.retrieved, on=KEY, how="left", maintain_order="left")) for run in runs]
    counts = dict(every.group_by("domain").len().sort("domain").iter_rows())
    return GallerySet(inventories[0].recipe.data, manifest, chosen, counts, runs)


def _title(inventory: Inventory) -> str:
    index = inventory.recipe.display.indexes[0]
    return inventory.recipe.title if index == "merged" else f"{inventory.recipe.title} ({index} index)"


def choose_queries(every: pl.DataFrame, limit: int) -> pl.DataFrame:
    """At most `limit` rows in their order: an equal share of each domain, the lowest hashes of their keys."""
    if len(every) <= limit:
        return every
    shares = equal_shares(dict(every.group_by("domain").len().sort("domain").iter_rows()), limit)
    hashes = [
        int.from_bytes(hashlib.blake2b("\0".join([str(SEED), *key]).encode(), digest_size=8).digest())
        for key in every.select(KEY).iter_rows()
    ]
    ranked = every.with_row_index("place").with_columns(pl.Series("hash", hashes, pl.UInt64)).sort("hash", "place")
    kept = [rows.head(shares[domain]) for (domain,), rows in ranked.group_by("domain", maintain_order=True)]
    return pl.concat(kept).sort("place").drop("place", "hash")


def equal_shares(counts: dict[str, int], limit: int) -> dict[str, int]:
    """How many of each domain: as equal as the counts allow; a remainder goes to the first ones."""
    shares = dict.fromkeys(counts, 0)
    while (left := limit - sum(shares.values())) > 0:
        unfilled = [domain for domain in counts if shares[domain] < counts[domain]]
        if not unfilled:
            break
        for number, domain in enumerate(unfilled):
            more = left // len(unfilled) + (number < left % len(unfilled))
            shares[domain] = min(counts[domain], shares[domain] + more)
    return shares


def as_plain_data(gallery_set: GallerySet) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """A set as lists for JSON, and its distinct images (source, id) in the order of their numbers."""
    numbers: dict[tuple[str, str], int] = {}
    domains = list(gallery_set.query_counts)
    queries = [
        [numbers.setdefault((source, image), len(numbers)), domains.index(domain), label, n]
        for source, image, domain, label, n in gallery_set.queries.select(*KEY, "n").iter_rows()
    ]
    runs = [_run(run, numbers) for run in gallery_set.runs]
    images = [
        [image, BETWEEN.join(found.labels), BETWEEN.join(found.domains)]
        for (_, image), found in descriptions(gallery_set.manifest, numbers).items()
    ]
    content = {"name": gallery_set.name, "domains": domains, "queries": queries, "runs": runs, "images": images}
    content |= {"opens": gallery_set.opens_on}
    return content, list(numbers)


def _run(run: GalleryRun, numbers: dict[tuple[str, str], int]) -> dict[str, Any]:
    frame = run.retrieved
    found = []
    for row in frame.select("neighbour_sources", "neighbours", "similarities", "hits").iter_rows():
        sources, names, similarities, hits = ([] if part is None else part[:NEIGHBOURS] for part in row)
        images = [numbers.setdefault(key, len(numbers)) for key in zip(sources, names, strict=True)]
        found.append([images, [round(value, 3) for value in similarities], [int(hit) for hit in hits]])
    values = {name: _rounded(frame[name]) for name in metrics_of(frame.columns)}
    return {"recipe": run.recipe, "row": run.row, "seed": run.seed, "found": found, "values": values}


def _rounded(values: pl.Series) -> list[float | None]:
    """Four decimals; None where a query has nothing to find."""
    numbers = values.cast(pl.Float64).to_numpy()
    return [None if np.isnan(number) else round(float(number), 4) for number in numbers]
