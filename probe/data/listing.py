"""Data sets as people read them: the catalogue, all that is known of one, the papers' statistics, those of a manifest.

print_datasets(all_datasets(), Path("/data"), printer())
print_dataset(find_dataset("sop"), Path("/data"), printer())
print_table(table, printer())
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from probe.data.curation_report import CountComparison, CurationReport
from probe.data.dataset import Count, Dataset
from probe.data.statistics import Column, StatisticsRow, StatisticsTable, Value, agrees
from probe.terminal import print_field, print_table, print_text

ONE_LINE_EACH = 160  # columns of a terminal
ABSENT = "-"


def print_datasets(datasets: list[Dataset], data_root: Path, console: Console) -> None:
    """Each with what is published of it and what of it lies below `data_root`; three lines each where it is narrow."""
    if console.width >= ONE_LINE_EACH:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for heading in ("name", "annotations", "images", "domain", "published", "title", "home", "licence"):
            table.add_column(heading, no_wrap=True)
        for dataset in datasets:
            row = dataset.row
            cells = (dataset.name, *_found(dataset, data_root), row.domain or "several", _published(dataset))
            table.add_row(*map(Text, (*cells, row.title, row.home or ABSENT, row.licence or ABSENT)))
        print_table(table, console)
    else:
        for dataset in datasets:
            _print_folded(dataset, data_root, console)
    print_text(
        f"{len(datasets)} data sets, looked for below {data_root}; all that is known of one: probe data list NAME.\n"
        "published: images / classes of each split; queries in index, where they differ; ~ as rounded in print.",
        console,
        "dim",
    )


def _print_folded(dataset: Dataset, data_root: Path, console: Console) -> None:
    row, (annotations, images) = dataset.row, _found(dataset, data_root)
    console.print(Text(dataset.name, style="bold") + Text(f"  {row.title}", style="not bold"))
    here = "not here" if annotations == images == ABSENT else f"annotations {annotations}, images {images}"
    numbers = f"{_published(dataset)}; " if dataset.counts else ""
    print_text(f"    {numbers}{here}", console)
    print_text(f"    {row.home or ABSENT} ({row.licence or ABSENT})", console, "dim")


def _found(dataset: Dataset, data_root: Path) -> tuple[str, str]:
    """The state of the annotation files, and that of the images."""
    missing = dataset.missing(data_root)
    if not missing:
        annotations = "complete"
    elif dataset.root(data_root) is None:
        annotations = ABSENT
    else:
        annotations = f"lacks {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
    roots = [dataset.catalogue.sources[source].root(data_root) for source in dataset.sources]
    there = sum(root is not None for root in roots)
    images = "found" if there == len(roots) else f"of {there} of {len(roots)} sources" if there else ABSENT
    return annotations, images


def _published(dataset: Dataset) -> str:
    """`train 59,551 / 11,318 · test 60,502 / 11,316`."""
    counts = [count for count in dataset.counts if count.domain is None]
    parts = []
    for split in dict.fromkeys(count.split for count in counts):
        sizes = dict.fromkeys(_size(count) for count in counts if count.split == split)
        parts.append(f"{split} {' in '.join(sizes)}")
    return " · ".join(parts)


def _size(count: Count) -> str:
    about = "~" if count.rounded > 1 else ""
    return about + f"{count.images:,}" + (f" / {count.classes:,}" if count.classes is not None else "")


def print_dataset(dataset: Dataset, data_root: Path, console: Console) -> None:
    """What is published of it and where, which files are read, and where each of them is or was looked for."""
    for name, value in _fields(dataset, data_root):
        print_field(name, value, console)


def _fields(dataset: Dataset, data_root: Path) -> Iterator[tuple[str, str]]:
    row = dataset.row
    yield "name", dataset.name
    yield "title", f"{row.title} ({row.year})" if row.year else row.title
    yield "domain", row.domain or "several"
    yield "home", row.home or ABSENT
    yield "licence", row.licence or ABSENT
    yield "papers", ", ".join(row.papers) or ABSENT
    if row.parts:
        yield "joins", ", ".join(row.parts)
    if row.note:
        yield "note", row.note.strip()
    for count in dataset.counts:
        of = f" of {count.domain}" if count.domain else ""
        place = count.split if count.role == count.split else f"{count.split} {count.role}"
        about = "about " if count.rounded > 1 else ""
        yield "published", f"{place}{of}: {about}{in_words(count.images, count.classes)} ({count.printed})"
    yield "data root", str(data_root)
    for part in dataset.parts:
        for names, path in _annotations(part, data_root).items():
            yield "annotations", str(path) if path else f"{names}: not found"
    if dataset.missing(data_root):
        yield "  looked in", ", ".join(dict.fromkeys(folder for part in dataset.parts for folder in part.folders))
    for source in dataset.sources:
        kept = dataset.catalogue.sources[source]
        root = kept.root(data_root)
        yield "images", f"{source}: {root}" if root else f"{source}: not found"
        if root is None:
            yield "  looked for", f"{' or '.join(kept.holds)} in {', '.join(kept.folders)}"


def _annotations(part: Dataset, data_root: Path) -> dict[str, Path | None]:
    return {" or ".join(table.file): part.file_of(table, data_root) for table in part.row.tables}


def in_words(images: int, classes: int | None) -> str:
    """`59,551 images of 11,318 classes`, `1 image`."""
    of = "" if classes is None else f" of {classes:,} {'class' if classes == 1 else 'classes'}"
    return f"{images:,} {'image' if images == 1 else 'images'}{of}"


# ---- statistics ----


def print_tables(tables: list[StatisticsTable], console: Console) -> None:
    """Each row as it is printed, below what was counted where the data are here."""
    for statistics in tables:
        printed = statistics.printed
        console.print(Text(f"{printed.title}: {printed.caption}", style="bold"))
        table = Table(box=None, padding=(0, 1, 0, 0))
        table.add_column("", no_wrap=True)
        table.add_column("", no_wrap=True)
        for column in printed.columns:
            table.add_column(column.replace(" ", "\n", 1), justify="right", no_wrap=True)
        for row in statistics.rows:
            _add_row(table, row, printed.columns)
        print_table(table, console)
        if printed.note:
            print_text(printed.note, console, "dim")
        console.print()
    print_text("In parentheses: as printed. !: differs from it.", console, "dim")


def _add_row(table: Table, row: StatisticsRow, columns: tuple[Column, ...]) -> None:
    name = row.printed.place
    printed = [f"({_shown(value)})" for value in row.printed.printed]
    if row.measured is not None:
        cells = []
        for column, value in zip(columns, row.printed.printed, strict=False):
            found = row.measured[column]
            cells.append(f"{_shown(found)} " if agrees(found, value) else f"{_shown(found)}!")
        table.add_row(name, row.state, *cells)
        table.add_row("", "", *printed)
    else:
        table.add_row(name, Text(row.state, style="dim"), *printed)


def _shown(value: Value) -> str:
    return f"{value:,}" if isinstance(value, int) else value


def print_sizes(heading: str, sizes: pl.DataFrame, console: Console) -> None:
    """Images, classes, and how many images a class has, by domain and split."""
    console.print(Text(heading, style="bold"), soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("domain", "split"):
        table.add_column(column, no_wrap=True)
    for column in ("images", "classes", "images per class\nleast", "\nmedian", "\nmost"):
        table.add_column(column, justify="right", no_wrap=True)
    columns = ("domain", "split", "images", "classes", "least", "median", "most")
    for row in sizes.select(columns).iter_rows():
        table.add_row(*(value if isinstance(value, str) else f"{value:,.10g}" for value in row))
    print_table(table, console)


# ---- curation ----


def print_curated(report: CurationReport, console: Console) -> None:
    """What was left of each source after each step, and what is printed of it; how a published list differs."""
    printed = f" ({report.curation.printed})" if report.curation.printed else ""
    console.print(Text(f"{report.curation.name}{printed}", style="bold"), soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("source", "step"):
        table.add_column(heading, no_wrap=True)
    for heading in ("images", "classes"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("printed", no_wrap=True)
    for source in report.sources:
        for number, step in enumerate(source.steps):
            is_last = number == len(source.steps) - 1
            verdict = _verdict(source.comparisons) if is_last else ""
            name = "" if number else source.data
            table.add_row(name, step.step, f"{step.images:,}", f"{step.classes:,}", verdict)
    kind = "published list" if report.published else "together"
    table.add_row("", kind, f"{report.images:,}", f"{report.classes:,}", _verdict(report.comparisons))
    print_table(table, console)
    if report.shares:
        print_table(_shares(report), console)
    for line in [*_near_duplicates(report), *_differences(report)]:
        print_text(line, console)


def _verdict(comparisons: list[CountComparison]) -> str:
    return ", ".join(f"{each.printed} {each.what}" + ("" if each.agrees else " (differs)") for each in comparisons)


def _shares(report: CurationReport) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("domain", no_wrap=True)
    for heading in ("share asked for", "share drawn", "images", "classes"):
        table.add_column(heading, justify="right", no_wrap=True)
    for share in report.shares:
        shares = (f"{share.requested:.2%}", f"{share.obtained:.2%}")
        table.add_row(share.domain, *shares, f"{share.images:,}", f"{share.classes:,}")
    return table


def _near_duplicates(report: CurationReport) -> Iterator[str]:
    for source, drawn in zip(report.curation.sources, report.sources, strict=False):
        rule, left_out = source.near_duplicates, drawn.near_duplicates
        if rule and left_out:
            of_query = f", {left_out.of_benchmark:,} of a query of {rule.benchmark}" if rule.benchmark else ""
            listed = "" if report.published else "; near-duplicates.csv has them"
            yield (
                f"{source.data}: left out as near-duplicates (cosine of {rule.backbone} above {rule.cosine:g}): "
                f"{left_out.of_class:,} of another image of the class{of_query}{listed}."
            )


def _differences(report: CurationReport) -> Iterator[str]:
    if report.not_drawn:
        yield f"Not compared with what the recipe draws: {report.not_drawn}"
    difference = report.difference
    if difference:
        yield (
            f"The published list and the drawn one share {difference.images_in_both:,} images; "
            f"{difference.images_only_published:,} are in the published one only "
            f"({difference.classes_only_published:,} whole classes), {difference.images_only_drawn:,} in the drawn one "
            f"only ({difference.classes_only_drawn:,} whole classes)."
        )
