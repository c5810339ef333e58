"""Training sets drawn by a recipe, or the published list of one where it is at hand; what was found is reported.

Rows keep their source and image id, so every training set is joined with the same feature stores; labels get their
source's name. Rows are sorted: neither the order of the input nor that of the sources changes the result. Printed
counts are compared, never forced.

    curated = curate(find_curation("m4d-35k", read_curations(recipe)), read)
    write_curated(curated, data_root / "m4d-35k", data_root)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import polars as pl

from probe.data.curation import Curation, Source
from probe.data.curation_report import (
    CurationReport,
    DrawStep,
    ListDifference,
    NearDuplicatesReport,
    Origin,
    ShareReport,
    SourceReport,
    compared_with_print,
)
from probe.data.manifest import COLUMNS, ORIGIN, CurationError, Manifest, read_manifest
from probe.data.resolve import MissingDataError
from probe.data.selection import (
    CLASS,
    IMAGE,
    cap,
    classes_between,
    concatenate,
    count,
    draw_classes,
    draw_shares,
    in_domain,
    namespaced,
    only,
    queries,
    without,
)
from probe.errors import UsageError
from probe.storage import write_whole

MANIFEST, LEFT_OUT = "manifest.parquet", "near-duplicates.csv"
SHOWN = 5


@dataclass(frozen=True)
class LeftOut:
    """Near-duplicates that a source is drawn without."""

    rows: pl.DataFrame
    """Columns `source`, `image`, `domain`, `label`; `near_source` and `near_image`, of the image that it is near;
    `of_query`, whether that is a query of the benchmark; `cosine`, of the two."""
    features: str
    """The fingerprints of the stores that were compared."""


@dataclass(frozen=True)
class Curated:
    manifest: Manifest
    report: CurationReport
    left_out: pl.DataFrame | None = None
    """The rows of `LeftOut` of all sources, and in `data` which one; None where no near-duplicates were looked for."""


@dataclass(frozen=True)
class _Drawn:
    manifest: Manifest
    sources: list[SourceReport]
    shares: list[ShareReport]
    left_out: pl.DataFrame | None


def curate(
    curation: Curation,
    read: Callable[[str], Manifest],
    near_duplicates: Callable[[Source], LeftOut] | None = None,
) -> Curated:
    """The training set, read through `read`: the name of a data set -> its manifest.

    `near_duplicates`: a source that is drawn without them -> those of its `training_rows` that are left out.
    The published list wins over what would be drawn, and over what cannot be. Without it, raises MissingDataError for a
    source that is not there, and UsageError for one that cannot be drawn from, and for shares that cannot be had.
    """
    published = _published(curation, read)
    try:
        drawn = _drawn(curation, read, near_duplicates)
    except UsageError as error:
        if published is None:
            raise
        return Curated(published, _report(curation, published, published=True, not_drawn=str(error)))
    if published is None:
        return Curated(drawn.manifest, _report(curation, drawn.manifest, drawn, published=False), drawn.left_out)
    difference = _difference(published, drawn.manifest)
    return Curated(published, _report(curation, published, drawn, published=True, difference=difference))


def write_curated(curated: Curated, folder: Path, data_root: Path, overwrite: bool = False) -> Path:
    """Writes `folder`/manifest.parquet, and beside it curation.json: the report, and where the sources' images lie;
    and near-duplicates.csv, the list of those that were left out.

    Raises UsageError for a manifest that is there already, unless told to overwrite it.
    """
    path = folder / MANIFEST
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists already, and is another draw; move it away or overwrite it (--overwrite).")
    is_drawn_again = path.exists()
    roots = curated.manifest.roots.items()
    origin = Origin(roots={source: _below(root, data_root) for source, root in roots}, report=curated.report)
    folder.mkdir(parents=True, exist_ok=True)
    # first: its digest tells it from another manifest's, should this be cut short
    write_whole(folder / ORIGIN, f"{origin.model_dump_json(indent=1)}\n".encode())
    if curated.left_out is not None:
        write_whole(folder / LEFT_OUT, curated.left_out.write_csv().encode())
    elif is_drawn_again:
        (folder / LEFT_OUT).unlink(missing_ok=True)
    curated.manifest.write(path, overwrite)
    return path


def is_drawn(curated: Curated, folder: Path, data_root: Path) -> bool:
    """Whether this very training set lies in the folder, its images where they are now."""
    if not (folder / MANIFEST).exists():
        return False
    try:
        there = read_manifest(folder / MANIFEST, data_root=data_root)
    except UsageError:
        return False
    return (there.digest, there.roots) == (curated.manifest.digest, curated.manifest.roots)


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


def _drawn(
    curation: Curation,
    read: Callable[[str], Manifest],
    near_duplicates: Callable[[Source], LeftOut] | None,
) -> _Drawn:
    parts, reports, left_out = [], [], []
    for source in curation.sources:
        manifest = read(source.data)
        try:
            rows = training_rows(manifest, source.splits)
            found = _left_out(source, near_duplicates)
            part, report = _draw(source, rows, found, manifest.digest, curation.seed)
        except UsageError as error:
            raise UsageError(f"the training set '{curation.name}' cannot take '{source.data}': {error}") from error
        parts.append(part)
        reports.append(report)
        left_out += [found.rows.select(pl.lit(source.data).alias("data"), pl.all())] if found else []
    _require_apart(curation, parts)
    joined = concatenate(parts, f"the training set '{curation.name}'")
    manifest, shares = _with_shares(joined, curation, read)
    manifest = Manifest(manifest.frame.sort(COLUMNS), manifest.roots, manifest.where)
    return _Drawn(manifest, reports, shares, pl.concat(left_out) if left_out else None)


def training_rows(manifest: Manifest, splits: Sequence[str]) -> Manifest:
    """The rows of these splits as training rows, each once."""
    chosen = only(manifest, splits=splits)
    if (chosen.frame["role"] == "train").all():
        return chosen
    if chosen.has_several_labels:
        raise UsageError(
            f"{chosen.where} has images of several labels, which cannot be trained on; take another split."
        )
    rows = chosen.frame.with_columns(split=pl.lit("train"), role=pl.lit("train")).unique()
    return Manifest(rows, chosen.roots, chosen.where)


def _left_out(source: Source, near_duplicates: Callable[[Source], LeftOut] | None) -> LeftOut | None:
    if source.near_duplicates is None:
        return None
    if near_duplicates is None:
        raise UsageError("near-duplicates are found by stored features; draw it with `probe data curate`.")
    return near_duplicates(source)


def _with_shares(
    manifest: Manifest, curation: Curation, read: Callable[[str], Manifest]
) -> tuple[Manifest, list[ShareReport]]:
    if curation.shares is None:
        return manifest, []
    shares = curation.shares
    if isinstance(shares, str):
        shares = _queries_by_domain(read(shares))
    drawn = draw_shares(manifest, shares, curation.seed)
    counts, asked = count(drawn, by=["domain"]), sum(shares.values())
    images = counts["images"].sum()
    return drawn, [
        ShareReport(
            domain=domain, requested=shares[domain] / asked, obtained=number / images, images=number, classes=classes
        )
        for domain, number, classes in counts.iter_rows()
    ]


def _queries_by_domain(benchmark: Manifest) -> dict[str, float]:
    """How many test queries a benchmark has of each domain."""
    test = queries(only(benchmark, splits=["test"]))
    return dict(count(test, by=["domain"]).select("domain", "images").iter_rows())


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


def _draw(
    source: Source, manifest: Manifest, left_out: LeftOut | None, digest: str, seed: int
) -> tuple[Manifest, SourceReport]:
    """What a recipe takes of the training rows of one data set, whose whole manifest has the digest."""
    seed = seed if source.seed is None else source.seed
    steps = [_step(f"split {' and '.join(source.splits)}", manifest)]
    if source.near_duplicates and left_out:
        manifest = without(manifest, left_out.rows)
        steps.append(_step(f"near-duplicates {source.near_duplicates.cosine:g}", manifest))
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
    return manifest, SourceReport(
        data=source.data,
        digest=digest,
        steps=steps,
        near_duplicates=_counted(left_out) if left_out else None,
        comparisons=compared_with_print(steps[-1].images, steps[-1].classes, source.expected),
    )


def _counted(left_out: LeftOut) -> NearDuplicatesReport:
    of_benchmark = left_out.rows.filter("of_query").height
    return NearDuplicatesReport(
        of_class=len(left_out.rows) - of_benchmark, of_benchmark=of_benchmark, features=left_out.features
    )


def _step(step: str, manifest: Manifest) -> DrawStep:
    return DrawStep(step=step, **count(manifest, by=()).row(0, named=True))


def _report(
    curation: Curation,
    manifest: Manifest,
    drawn: _Drawn | None = None,
    *,
    published: bool,
    difference: ListDifference | None = None,
    not_drawn: str | None = None,
) -> CurationReport:
    images, classes = count(manifest, by=()).row(0)
    return CurationReport(
        curation=curation,
        published=published,
        digest=manifest.digest,
        sources=drawn.sources if drawn else [],
        images=images,
        classes=classes,
        comparisons=compared_with_print(images, classes, curation.expected),
        shares=drawn.shares if drawn else [],
        difference=difference,
        not_drawn=not_drawn,
    )


def _difference(published: Manifest, drawn: Manifest) -> ListDifference:
    def apart(one: pl.DataFrame, other: pl.DataFrame) -> tuple[pl.DataFrame, int]:
        """The images of one that the other lacks, and the classes of one that share no image with the other."""
        only_one = one.join(other, on=IMAGE, how="anti")
        shared = one.join(other, on=IMAGE, how="semi").select(CLASS).unique()
        return only_one.select(IMAGE).unique().sort(IMAGE), one.select(CLASS).unique().join(
            shared, on=CLASS, how="anti"
        ).height

    only_published, published_classes = apart(published.frame, drawn.frame)
    only_drawn, drawn_classes = apart(drawn.frame, published.frame)
    return ListDifference(
        images_in_both=drawn.frame.select(IMAGE).n_unique() - len(only_drawn),
        images_only_published=len(only_published),
        images_only_drawn=len(only_drawn),
        classes_only_published=published_classes,
        classes_only_drawn=drawn_classes,
        first_only_published=[f"{source}/{image}" for source, image in only_published.head(SHOWN).iter_rows()],
        first_only_drawn=[f"{source}/{image}" for source, image in only_drawn.head(SHOWN).iter_rows()],
    )
