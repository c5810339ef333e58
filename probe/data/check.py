"""Whether data is what it should be, before a backbone sees it: its counts, its files, its splits, its pixels.

Everything but the pixels is looked at in full. Images are decoded as extraction decodes them, a seeded sample or all:
one that fails here fails there. Nothing is changed, and nothing that is found stops the check.

    check = check_data("sop", resolve_data("sop", data_root), find_dataset("sop").counts, 300, 4, data_root)
    check.is_sound, check.findings
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl
from rich.console import Console

from probe.data.copies import other_copy
from probe.data.dataset import Count
from probe.data.decoding import decode
from probe.data.images import missing_images
from probe.data.listing import in_words
from probe.data.loading import decoded_batches
from probe.data.manifest import Manifest
from probe.data.problems import Problem, find_problems
from probe.data.selection import CLASS, IMAGE, count
from probe.progress import Advance, track
from probe.storage import replacing_file
from probe.terminal import print_text

SEED = 0
BATCH = 16
BLOCK = 1024  # images between two steps of a progress bar
SHOWN = 5


@dataclass(frozen=True)
class MeasuredCount:
    """A published count, and what was measured."""

    published: Count
    images: int
    classes: int

    @property
    def agrees(self) -> bool:
        return self.published.agrees(self.images, self.classes)


@dataclass(frozen=True)
class Check:
    """What a check has found."""

    name: str
    manifest: Manifest
    counts: list[MeasuredCount]
    """Beside each published one."""
    absent: dict[str, Path]
    """The sources of which no image is here, and where they are looked for."""
    elsewhere: dict[str, str]
    """By source, where images of it that are missing lie instead, and what to do."""
    findings: list[Problem]
    """Everything else that is wrong, image by image."""
    images: int
    """Of the manifest."""
    decoded: int
    """How many of them were decoded, or tried."""
    copies: int
    """Images that equal others of their class byte by byte, which is no fault."""

    @property
    def is_sound(self) -> bool:
        return not (self.absent or self.findings) and all(each.agrees for each in self.counts)


def check_data(
    name: str,
    manifest: Manifest,
    published: Sequence[Count],
    sample: int | None,
    workers: int,
    data_root: Path,
    datasets: Path | None = None,
) -> Check:
    """`sample`: how many images are decoded, None for all; `workers`: processes that decode, 0 for this one;
    `data_root`, `datasets`: by which other folders of a source are known.

    Raises UsageError for a tar that cannot be read.
    """
    counts = [MeasuredCount(each, *each.measure(manifest)) for each in published]
    images = manifest.frame.select(IMAGE).unique().sort(IMAGE)
    absent = {
        source: manifest.roots[source]
        for source in manifest.sources
        if not _any_here(manifest.roots[source], images.filter(pl.col("source") == source)["image"])
    }
    expected = images.filter(~pl.col("source").is_in(list(absent)))
    missing = _missing(manifest, expected)
    here = expected.join(missing, on=IMAGE, how="anti", maintain_order="left")
    elsewhere = {}
    for source in (*absent, *missing["source"].unique().sort()):
        wanted = manifest.images(source)
        lacking = wanted if source in absent else missing.filter(pl.col("source") == source)["image"].to_list()
        if copy := other_copy(source, manifest.roots[source], lacking, wanted, data_root, datasets):
            elsewhere[source] = copy
    decodable, unreadable = _decode(manifest, _drawn(here, sample), workers)
    mixed, copies = _copies(manifest, decodable)
    found = [
        Problem("missing image files", missing),
        Problem("images that cannot be decoded", unreadable),
        *find_problems(manifest),
        Problem("byte-identical images of several classes, or of training and queries", mixed),
    ]
    findings = [each for each in found if not each.rows.is_empty()]
    number = len(decodable) + len(unreadable)
    return Check(name, manifest, counts, absent, elsewhere, findings, len(images), number, copies)


def _any_here(root: Path, images: pl.Series) -> bool:
    """Whether anything with the first name of any image's path lies below the root."""
    first = set(images.str.split("/").list.first().unique())
    if not root.is_dir():
        return False
    any_otherwise = not all(map(str.isascii, first))  # such names have other spellings
    return any_otherwise or not first.isdisjoint(path.name for path in root.iterdir())


def _missing(manifest: Manifest, images: pl.DataFrame) -> pl.DataFrame:
    found: list[tuple[str, str]] = []
    with track("look for image files", len(images), "images") as advance:
        for (source,), rows in images.group_by("source", maintain_order=True):
            listed = _reported(rows["image"].to_list(), advance)
            found += [(str(source), image) for image in missing_images(manifest.roots[str(source)], listed)]
    return pl.DataFrame(found, dict.fromkeys(IMAGE, pl.String), orient="row")


def _reported(images: list[str], advance: Advance) -> Iterator[str]:
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK]
        yield from block
        advance(len(block))


def _drawn(images: pl.DataFrame, sample: int | None) -> pl.DataFrame:
    if sample is None or sample >= len(images):
        return images
    return images[np.sort(np.random.default_rng(SEED).choice(len(images), sample, replace=False))]


def _decode(manifest: Manifest, images: pl.DataFrame, workers: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Those that can be decoded, with their contents' digests, and those that cannot, with the reason."""
    good, bad = [], []
    with track("decode images", len(images), "images") as advance:
        for (source,), rows in images.group_by("source", maintain_order=True):
            name = str(source)
            todo, root = rows["image"].to_list(), manifest.roots[name]
            with decoded_batches(todo, root, _size, batch=BATCH, workers=workers) as batches:
                for batch in batches:
                    good += [(name, *each) for each in zip(batch.ids, batch.contents, strict=True)]
                    bad += [(name, *failure) for failure in (*batch.failures, *batch.unread)]
                    advance(len(batch))
    keys = dict.fromkeys(IMAGE, pl.String)
    return (
        pl.DataFrame(good, keys | {"content": pl.UInt64}, orient="row"),
        pl.DataFrame(bad, keys | {"reason": pl.String}, orient="row"),
    )


def _size(file: Path | BinaryIO) -> tuple[np.ndarray, tuple[int, int]]:
    """Decodes, and keeps no pixel."""
    return np.empty(0, np.uint8), decode(file).size


def _copies(manifest: Manifest, images: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The rows of copies that differ in class, or are trained on and are queries; how many other copies there are."""
    repeated = images.filter(pl.col("content").is_duplicated())
    if repeated.is_empty():
        return pl.DataFrame(), 0
    rows = manifest.frame.join(repeated, on=IMAGE)
    rows = rows.explode("label") if manifest.has_several_labels else rows
    is_query = pl.col("role").is_in(["query", "both"])
    leaks = (pl.col("role") == "train").any().over("content") & is_query.any().over("content")
    mixed = rows.filter((pl.struct(CLASS).n_unique().over("content") > 1) | leaks)
    listed = mixed.sort("content", *IMAGE).select(*IMAGE, *CLASS, "split", content=pl.format("{}", "content"))
    harmless = repeated.join(mixed.select("content").unique(), on="content", how="anti")
    return listed, len(harmless)


# ---- as people read it ----


def print_check(check: Check, console: Console) -> None:
    """Every count beside the published one, and every finding with its first five images."""
    classes = count(check.manifest, by=())["classes"].item()
    lines = [f"{check.name}: {in_words(check.images, classes)} in {check.manifest.where}"]
    lines += [f"  {line}" for each in check.counts for line in _count_lines(each)]
    if check.absent:
        places = "; ".join(f"{source} ({root})" for source, root in check.absent.items())
        lines.append(f"  not one image is here, in the places where they are looked for, of {places}")
    lines += [f"  missing images of {source}: {where}" for source, where in check.elsewhere.items()]
    expected = check.images - sum(len(check.manifest.images(source)) for source in check.absent)
    if expected:
        lines.append(f"  {expected:,} image files looked for, {check.decoded:,} images decoded")
    if check.copies:
        lines.append(f"  {check.copies:,} of these are byte-identical to another of their class")
    for finding in check.findings:
        more = f", the first {SHOWN}" if len(finding.rows) > SHOWN else ""
        lines.append(f"  {finding.what}: {len(finding.rows):,}{more}")
        lines += [f"    {', '.join(map(str, row))}" for row in finding.rows.head(SHOWN).iter_rows()]
    for line in lines:
        print_text(line, console)


def _count_lines(each: MeasuredCount) -> Iterator[str]:
    published = each.published
    place = published.split if published.role == published.split else f"{published.split} {published.role}"
    of = f" of {published.domain}" if published.domain else ""
    about = "about " if published.rounded > 1 else ""
    verdict = "agrees with" if each.agrees else "DIFFERS from"
    yield (
        f"{place}{of}: {in_words(each.images, each.classes)}, {verdict} "
        f"{about}{in_words(published.images, published.classes)} ({published.printed})"
    )


def summary_line(check: Check) -> str:
    """One line: whether it is sound, and what is wrong."""
    if check.is_sound:
        return f"{check.name} is sound"
    differ = sum(not each.agrees for each in check.counts)
    wrong = [f"published counts that differ: {differ:,}"] if differ else []
    wrong += [f"no images of {', '.join(check.absent)}"] if check.absent else []
    wrong += [f"{finding.what}: {len(finding.rows):,}" for finding in check.findings]
    return f"{check.name} is not sound: {'; '.join(wrong)}"


def write_findings(check: Check, path: Path) -> None:
    """A CSV file of every finding, with problem, source, image and what else is known; none where there is nothing."""
    path.unlink(missing_ok=True)
    if not check.findings:
        return
    tables = []
    for finding in check.findings:
        rest = [f"{name}: " + pl.col(name).cast(pl.String) for name in finding.rows.columns if name not in IMAGE]
        detail = pl.concat_str(rest, separator="; ") if rest else pl.lit("")
        tables.append(finding.rows.select(pl.lit(finding.what).alias("problem"), *IMAGE, detail.alias("detail")))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing_file(path) as temporary:
        pl.concat(tables).write_csv(temporary)
