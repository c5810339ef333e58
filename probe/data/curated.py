"""Training sets drawn by a recipe, or the published list of one where it is at hand; what was found is reported.

Rows keep their source and image id, so every training set is joined with the same feature stores; labels get their
source's name. Rows are sorted: neither the order of the input nor that of the sources changes the result. Printed
counts are compared, never forced.

    curated = curate(find_curation("m4d-35k", read_curations(recipe)), read)
    write_curated(curated, data_root / "m4d-35k", data_root)
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from itertools import combinations
from pathlib import Path
from typing import Literal

import polars as pl

from probe.data.curation import Curation, Expected, Printed, Source
from probe.data.manifest import COLUMNS, ORIGIN, CurationError, Manifest
from probe.data.resolve import MissingDataError
from probe.data.selection import (
    CLASS,
    IMAGE,
    cap,
    classes_between,
    concatenate,
    count,
    draw_classes,
    in_domain,
    namespaced,
    only,
)
from probe.errors import UsageError
from probe.storage import write_whole
from probe.validation import Strict

UNITS = {"k": 1_000, "M": 1_000_000}
SHOWN = 5


class Step(Strict):
    """What was left after a step."""

    step: str
    images: int
    classes: int


class CountComparison(Strict):
    """A count beside the printed one; they agree when the count, rounded as printed, is the printed one."""

    what: Literal["images", "classes"]
    found: int
    printed: Printed
    agrees: bool


class SourceReport(Strict):
    """`digest`: of the data set's whole manifest."""

    data: str
    digest: str
    steps: list[Step]
    comparisons: list[CountComparison]


class Difference(Strict):
    """The published list against the drawn one. A class is in one only when none of its images is in the other."""

    images_in_both: int
    images_only_published: int
    images_only_drawn: int
    classes_only_published: int
    classes_only_drawn: int
    first_only_published: list[str]
    first_only_drawn: list[str]


class CurationReport(Strict):
    """`published`: whether the images are those of the published list; then `difference` compares them with the drawn
    ones, or `not_drawn` says why there are none."""

    curation: Curation
    published: bool
    digest: str
    sources: list[SourceReport]
    images: int
    classes: int
    comparisons: list[CountComparison]
    difference: Difference | None = None
    not_drawn: str | None = None


class Origin(Strict):
    """curation.json. `roots`: source -> folder, below the data root where it is not absolute."""

    roots: dict[str, str]
    report: CurationReport


@dataclass(frozen=True)
class Curated:
    manifest: Manifest
    report: CurationReport


def curate(curation: Curation, read: Callable[[str], Manifest]) -> Curated:
    """The training set, read through `read`: the name of a data set -> its manifest.

    The published list wins over what would be drawn, and over what cannot be. Without it, raises MissingDataError for a
    source that is not there, and UsageError for one that cannot be drawn from.
    """
    published = _published(curation, read)
    try:
        drawn, sources = _drawn(curation, read)
    except UsageError as error:
        if published is None:
            raise
        return Curated(published, _report(curation, published, [], published=True, not_drawn=str(error)))
    if published is None:
        return Curated(drawn, _report(curation, drawn, sources, published=False))
    difference = _difference(published, drawn)
    return Curated(published, _report(curation, published, sources, published=True, difference=difference))


def write_curated(curated: Curated, folder: Path, data_root: Path, overwrite: bool = False) -> Path:
    """Writes `folder`/manifest.parquet, and beside it curation.json: the report, and where the sources' images lie.

    Raises UsageError for a manifest that is there already, unless told to overwrite it.
    """
    path = folder / "manifest.parquet"
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists already; move it away or ask for it to be overwritten.")
    roots = curated.manifest.roots.items()
    origin = Origin(roots={source: _below(root, data_root) for source, root in roots}, report=curated.report)
    folder.mkdir(parents=True, exist_ok=True)
    # first: its digest tells it from another manifest's, should this be cut short
    write_whole(folder / ORIGIN, f"{origin.model_dump_json(indent=1)}\n".encode())
    curated.manifest.write(path, overwrite)
    return path


def _below(root: Path, data_root: Path) -> str:
    return str(root.relative_to(data_root) if root.is_relative_to(data_root) else root.absolute())


def _published(curation: Curation, read: Callable[[str], Manifest]) -> Manifest | None:
    if curation.released is None:
        return None
    try:
        found = read(curation.released)
    except (MissingDataError, CurationError):
        return None
    file = Path(found.where)
    if file.is_file() and file.with_name(ORIGIN).exists():  # drawn by a recipe, perhaps by this one
        return None
    return only(found, splits=["train"])


def _drawn(curation: Curation, read: Callable[[str], Manifest]) -> tuple[Manifest, list[SourceReport]]:
    parts, reports = [], []
    for source in curation.sources:
        manifest = read(source.data)
        try:
            part, report = _draw(source, manifest, curation.seed)
        except UsageError as error:
            raise UsageError(f"the training set '{curation.name}' cannot take '{source.data}': {error}") from error
        parts.append(part)
        reports.append(report)
    _require_apart(curation, parts)
    joined = concatenate(parts, f"the training set '{curation.name}'")
    return Manifest(joined.frame.sort(COLUMNS), joined.roots, joined.where), reports


def _require_apart(curation: Curation, parts: list[Manifest]) -> None:
    """Two data sets of one source may call different classes the same."""
    names = [source.data for source in curation.sources]
    for (one, part), (other, further) in combinations(zip(names, parts, strict=True), 2):
        if one == other or set(part.sources).isdisjoint(further.sources):
            continue
        classes, others = (namespaced(each).frame.select("source", *CLASS).unique() for each in (part, further))
        shared = classes.join(others, on=["source", *CLASS], how="semi")
        if not shared.is_empty():
            raise UsageError(
                f"the training set '{curation.name}' draws from '{one}' and '{other}', which are of one source and "
                f"have {len(shared):,} label(s) in common, such as '{shared['label'].min()}'; give one another domain."
            )


def _draw(source: Source, manifest: Manifest, seed: int) -> tuple[Manifest, SourceReport]:
    """What a recipe takes from one data set, as training images."""
    seed = seed if source.seed is None else source.seed
    splits = [source.split] if isinstance(source.split, str) else source.split
    digest = manifest.digest
    manifest = _for_training(only(manifest, splits=splits))
    steps = [_step(f"split {' and '.join(splits)}", manifest)]
    for name, least, most in (("min", source.min, None), ("max", 1, source.max)):
        if (least, most) != (1, None):
            manifest = classes_between(manifest, least, most)
            steps.append(_step(f"{name} {most or least}", manifest))
    if source.cap is not None:
        manifest = cap(manifest, source.cap, seed)
        steps.append(_step(f"cap {source.cap}", manifest))
    if source.classes is not None:
        manifest = draw_classes(manifest, source.classes, seed)
        steps.append(_step(f"classes {source.classes}", manifest))
    if source.domain is not None:
        manifest = in_domain(manifest, source.domain)
    compared = _compared(steps[-1].images, steps[-1].classes, source.expected)
    return manifest, SourceReport(data=source.data, digest=digest, steps=steps, comparisons=compared)


def _for_training(manifest: Manifest) -> Manifest:
    """All rows as training rows, each once."""
    if (manifest.frame["role"] == "train").all():
        return manifest
    if manifest.has_several_labels:
        raise UsageError(
            f"{manifest.where} has images of several labels, which cannot be trained on; take another split."
        )
    rows = manifest.frame.with_columns(split=pl.lit("train"), role=pl.lit("train")).unique()
    return Manifest(rows, manifest.roots, manifest.where)


def _step(step: str, manifest: Manifest) -> Step:
    return Step(step=step, **count(manifest, by=()).row(0, named=True))


def _report(
    curation: Curation,
    manifest: Manifest,
    sources: list[SourceReport],
    *,
    published: bool,
    difference: Difference | None = None,
    not_drawn: str | None = None,
) -> CurationReport:
    images, classes = count(manifest, by=()).row(0)
    return CurationReport(
        curation=curation,
        published=published,
        digest=manifest.digest,
        sources=sources,
        images=images,
        classes=classes,
        comparisons=_compared(images, classes, curation.expected),
        difference=difference,
        not_drawn=not_drawn,
    )


def _compared(images: int, classes: int, expected: Expected) -> list[CountComparison]:
    found: list[tuple[Literal["images", "classes"], int, str | None]] = [
        ("images", images, expected.images),
        ("classes", classes, expected.classes),
    ]
    return [
        CountComparison(what=what, found=number, printed=printed, agrees=rounds_to(number, printed))
        for what, number, printed in found
        if printed is not None
    ]


def rounds_to(number: int, printed: str) -> bool:
    """Whether a count is printed so: 141,460 as `141.5k`, halves rounded up."""
    digits = Decimal(printed.rstrip("kM"))
    scaled = Decimal(number) / UNITS.get(printed[-1], 1)
    return scaled.quantize(Decimal(1).scaleb(int(digits.as_tuple().exponent)), ROUND_HALF_UP) == digits


def _difference(published: Manifest, drawn: Manifest) -> Difference:
    def apart(one: pl.DataFrame, other: pl.DataFrame) -> tuple[pl.DataFrame, int]:
        """The images of one that the other lacks, and the classes of one that share no image with the other."""
        only_one = one.join(other, on=IMAGE, how="anti")
        shared = one.join(other, on=IMAGE, how="semi").select(CLASS).unique()
        return only_one.select(IMAGE).unique().sort(IMAGE), one.select(CLASS).unique().join(
            shared, on=CLASS, how="anti"
        ).height

    only_published, published_classes = apart(published.frame, drawn.frame)
    only_drawn, drawn_classes = apart(drawn.frame, published.frame)
    return Difference(
        images_in_both=drawn.frame.select(IMAGE).n_unique() - len(only_drawn),
        images_only_published=len(only_published),
        images_only_drawn=len(only_drawn),
        classes_only_published=published_classes,
        classes_only_drawn=drawn_classes,
        first_only_published=[f"{source}/{image}" for source, image in only_published.head(SHOWN).iter_rows()],
        first_only_drawn=[f"{source}/{image}" for source, image in only_drawn.head(SHOWN).iter_rows()],
    )
