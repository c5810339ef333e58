"""What the gallery shows: queries with what several runs found for them, and each picture once.

Recipes over the same manifest share their queries, so that any two of their runs can stand side by side. Of more than
`limit` queries each domain keeps an equal share, those whose ids have the lowest hash: the same on every machine.

    for found in gallery_sets(benches, limit=1000):
        entry, images = data(found)        # plain lists for JSON, and whose pictures it needs
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from probe.data.manifest import Manifest
from probe.metrics import metrics_of
from probe.planning.inventory import Bench
from probe.report.queries import BETWEEN, KEY, as_text, first_finished, queries

NEIGHBOURS = 5  # of each query; what mMP@5 looks at
SEED = 0


@dataclass(frozen=True)
class Side:
    """What one row of a table found, with its first finished seed. `found`: a row a query of the set, in its order."""

    recipe: str
    row: str
    seed: int
    found: pl.DataFrame


@dataclass(frozen=True)
class GallerySet:
    """Queries of one manifest's test split. `of`: how many there are in each domain, shown or not."""

    name: str
    manifest: Manifest
    queries: pl.DataFrame
    of: dict[str, int]
    runs: list[Side]

    @property
    def said(self) -> str:
        """Which queries these are."""
        total, shown = sum(self.of.values()), len(self.queries)
        if shown == total:
            return f"{self.name}: all {total:,} queries of the test split."
        kept = dict(self.queries.group_by("domain").len().iter_rows())
        parts = ", ".join(f"{kept.get(domain, 0):,} of {count:,} {domain}" for domain, count in self.of.items())
        return f"{self.name}: {shown:,} of {total:,} queries, drawn by the hash of their ids (seed {SEED}): {parts}."


def gallery_sets(benches: Sequence[Bench], limit: int) -> list[GallerySet]:
    """One for each manifest that has finished runs."""
    groups: dict[str, list[Bench]] = {}
    for bench in benches:
        if bench.manifest is not None:
            groups.setdefault(bench.manifest.digest, []).append(bench)
    return [found for group in groups.values() if (found := _gallery_set(group, limit))]


def _gallery_set(benches: list[Bench], limit: int) -> GallerySet | None:
    """Of recipes that share a manifest."""
    sides = [
        Side(_title(bench), row.name, seed[0].config.seed, queries(row, seed, bench.recipe.show.indexes[0]))
        for bench in benches
        for row in bench.recipe.rows
        if (seed := first_finished(bench, row))
    ]
    manifest = benches[0].manifest
    if not sides or manifest is None:
        return None
    every = pl.concat([side.found.select(*KEY, "n") for side in sides]).unique(KEY, maintain_order=True)
    chosen = choose(every, limit)
    keys = chosen.select(KEY)
    shown = [replace(side, found=keys.join(side.found, on=KEY, how="left", maintain_order="left")) for side in sides]
    of = dict(every.group_by("domain").len().sort("domain").iter_rows())
    return GallerySet(benches[0].recipe.data, manifest, chosen, of, shown)


def _title(bench: Bench) -> str:
    index = bench.recipe.show.indexes[0]
    return bench.recipe.title if index == "merged" else f"{bench.recipe.title} ({index} index)"


def choose(every: pl.DataFrame, limit: int) -> pl.DataFrame:
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
    """How many of each domain: as equal as the counts allow; what does not divide goes to the first ones."""
    shares = dict.fromkeys(counts, 0)
    while (left := limit - sum(shares.values())) > 0:
        hungry = [domain for domain in counts if shares[domain] < counts[domain]]
        if not hungry:
            break
        for number, domain in enumerate(hungry):
            more = left // len(hungry) + (number < left % len(hungry))
            shares[domain] = min(counts[domain], shares[domain] + more)
    return shares


def data(found: GallerySet) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """A set as plain lists for JSON, and its distinct images (source, id) in the order of their numbers."""
    numbers: dict[tuple[str, str], int] = {}
    domains = list(found.of)
    asked = [
        [numbers.setdefault((source, image), len(numbers)), domains.index(domain), label, n]
        for source, image, domain, label, n in found.queries.select(*KEY, "n").iter_rows()
    ]
    runs = [_run(shown, numbers) for shown in found.runs]
    described = [[image, *text] for (_, image), text in zip(numbers, _described(found.manifest, numbers), strict=True)]
    entry = {"name": found.name, "domains": domains, "queries": asked, "runs": runs, "images": described}
    return entry, list(numbers)


def _run(shown: Side, numbers: dict[tuple[str, str], int]) -> dict[str, Any]:
    frame = shown.found
    found = []
    for row in frame.select("neighbour_sources", "neighbours", "similarities", "hits").iter_rows():
        sources, names, similarities, hits = ([] if part is None else part[:NEIGHBOURS] for part in row)
        images = [numbers.setdefault(key, len(numbers)) for key in zip(sources, names, strict=True)]
        found.append([images, [round(value, 3) for value in similarities], [int(hit) for hit in hits]])
    values = {name: _rounded(frame[name]) for name in metrics_of(frame.columns)}
    return {"recipe": shown.recipe, "row": shown.row, "seed": shown.seed, "found": found, "values": values}


def _described(manifest: Manifest, images: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Labels and domains of each image in the manifest's test split, as text."""
    wanted = pl.DataFrame(list(images), ["source", "image"], orient="row")
    split = manifest.split("test").join(wanted, on=["source", "image"], how="semi", maintain_order="left")
    texts = (
        split.with_columns(as_text(split["label"]))
        .group_by("source", "image")
        .agg(*(pl.col(name).unique(maintain_order=True).str.join(BETWEEN) for name in ("label", "domain")))
    )
    joined = wanted.join(texts, on=["source", "image"], how="left", maintain_order="left")
    return list(joined.select(pl.col("label", "domain").fill_null("")).iter_rows())


def _rounded(values: pl.Series) -> list[float | None]:
    """Four decimals; None where a query has nothing to find."""
    numbers = values.cast(pl.Float64).to_numpy()
    return [None if np.isnan(number) else round(float(number), 4) for number in numbers]
