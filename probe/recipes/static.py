"""Recipes of tables that need no runs: data sets counted again, another recipe's settings, what is printed alone.

kind: statistics       # `of`: a table of probe/data/statistics.yaml
of: UnED Table 2

kind: settings         # `of`: a recipe; `row`: one of its rows; `settings`: where the row has each printed one
of: unifex_table5.yaml
row: Sub-Center ArcFace
settings: {Dropout: head.dropout, Warmup scheduler: {printed-only: there is no other}}

kind: printed          # `because`: why nothing can be measured
because: The solutions were not released.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from probe.data.resolve import known_data
from probe.data.statistics import PrintedTable, agrees, find_table, measured_tables
from probe.data.statistics import Row as Counts
from probe.errors import UsageError, nearest
from probe.recipes.display import Counted, written
from probe.recipes.reference import Reference
from probe.recipes.row import Comparison, Row, read_comparison
from probe.recipes.training_sets import draw_commands
from probe.validation import Strict
from probe.workspace import Workspace


@dataclass(frozen=True)
class Found:
    """`values`: by row and metric; `missing`: why rows have none; `needs`: the commands that get these; `notes`:
    what else there is to say of them."""

    values: dict[str, dict[str, float | str]]
    missing: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Counter(Protocol):
    def count(self, workspace: Workspace) -> Found: ...


class _File(Strict):
    title: str
    about: str = ""
    reference: str


class StatisticsFile(_File):
    kind: Literal["statistics"]
    of: str


class PrintedOnly(Strict):
    """Of a setting that nothing says: why."""

    because: str = Field(alias="printed-only")


class SettingsFile(_File):
    kind: Literal["settings"]
    of: str
    row: str
    settings: Annotated[dict[str, str | PrintedOnly], Field(min_length=1)]


class PrintedFile(_File):
    kind: Literal["printed"]
    because: str


FILES = {"statistics": StatisticsFile, "settings": SettingsFile, "printed": PrintedFile}


@dataclass(frozen=True)
class Statistics:
    """Counts the data sets of a printed table. `recipes`: the folder of the recipes."""

    table: PrintedTable
    recipes: Path

    def count(self, workspace: Workspace) -> Found:
        read = partial(known_data, data_root=workspace.data_root, datasets=workspace.datasets)
        [counted] = measured_tables(read, [self.table])
        values: dict[str, dict[str, float | str]] = {}
        states: dict[str, list[str]] = {}
        needs: dict[str, None] = {}
        for row in counted.rows:
            if row.measured is not None:
                values[row.printed.place] = {str(column): value for column, value in row.measured.items()}
            elif row.printed.data is not None:
                states.setdefault(row.state, []).append(row.printed.place)
                needs |= dict.fromkeys(self._commands(row.printed.data, workspace))
        missing = [f"{state}: {', '.join(names)}" for state, names in states.items()]
        return Found(values, missing, list(needs), list(self._differences(counted.rows)))

    def _differences(self, rows: Sequence[Counts]) -> Iterator[str]:
        """Where a count, rounded as the paper rounds it, is not the printed one."""
        for row in rows:
            for column, printed in zip(self.table.columns, row.printed.printed, strict=False):
                if row.measured is not None and not agrees(row.measured[column], printed):
                    said = (written(column, value) for value in (row.measured[column], printed))
                    yield f"{row.printed.place}: {column}: {' counted, '.join(said)} printed"

    def _commands(self, data: str, workspace: Workspace) -> list[str]:
        """What draws a data set, or else tells where to get it."""
        told = shlex.join(["probe", "data", "list", data, *workspace.options("data_root")])
        return draw_commands([data], self.recipes, workspace) or [told]


@dataclass(frozen=True)
class Known:
    """What is known without looking at the disk."""

    values: dict[str, dict[str, float | str]]

    def count(self, workspace: Workspace) -> Found:
        return Found(self.values)


def statistics_rows(file: StatisticsFile, reference: Reference, path: Path) -> tuple[list[Row], Counted, Counter]:
    """Raises UsageError for a table that probe/data/statistics.yaml lacks."""
    try:
        table = find_table(file.of)
    except UsageError as error:
        raise UsageError(f"{path}: of: {error}") from error
    rows = []
    for row in table.rows:
        compared = "printed-only" if row.data is None and not row.total else "recomputed"
        because = {"because": row.note} if row.note else {}
        comparison = Comparison.model_validate({"printed": row.place, "compared": compared, **because})
        rows.append(_row(row.place, comparison, reference, path))
    says = "Counted in the published annotations that are here; printed as the paper rounds."
    return rows, Counted(metrics=table.columns, says=says), Statistics(table, path.parent)


def settings_rows(
    file: SettingsFile, of: Sequence[Row], reference: Reference, path: Path
) -> tuple[list[Row], Counted, Counter]:
    """Raises UsageError for a row or a setting that the other recipe lacks. `of`: its rows."""
    by_name = {row.name: row for row in of}
    if file.row not in by_name:
        raise UsageError(f"{path}: row: {file.of} has no row '{file.row}'; {nearest(file.row, by_name)}")
    known = _settings(by_name[file.row])
    rows, values = [], {}
    for name, place in file.settings.items():
        if isinstance(place, str) and place not in known:
            raise UsageError(f"{path}: settings.{name}: '{file.row}' has no {place}; {nearest(place, known)}")
        if isinstance(place, str):
            values[name] = {"setting": known[place]}
            comparison = Comparison(printed=name, compared="recomputed")
        else:
            comparison = Comparison(printed=name, compared="printed-only", because=place.because)
        rows.append(_row(name, comparison, reference, path))
    says = f"As `{file.of}` has them in its row '{file.row}'."
    return rows, Counted(metrics=("setting",), says=says), Known(values)


def printed_rows(file: PrintedFile, reference: Reference, path: Path) -> tuple[list[Row], Counted, Counter]:
    """Every row of the reference, in its order."""
    metrics = dict.fromkeys(metric for row in reference.rows.values() for values in row.values() for metric in values)
    comparisons = {
        name: Comparison(printed=name, compared="printed-only", because=file.because) for name in reference.rows
    }
    rows = [_row(name, comparison, reference, path) for name, comparison in comparisons.items()]
    return rows, Counted(metrics=tuple(metrics), says="As the paper prints it."), Known({})


def _row(name: str, comparison: Comparison, reference: Reference, path: Path) -> Row:
    return Row(name, [], [], read_comparison(f"{path}: row '{name}'", comparison, reference))


def _settings(row: Row) -> dict[str, str]:
    """`training.lr`, `backbone.px`, `train`: everything that a row's runs are made of, as text."""
    config = row.runs[0].model_dump()
    backbone = row.backbones[0]
    places = {"backbone": backbone.row.model_dump(), **{k: config[k] for k in ("head", "loss", "training")}}
    found = {f"{section}.{key}": value for section, values in places.items() for key, value in (values or {}).items()}
    found |= {"train": row.train}
    return {place: _text(value) for place, value in found.items() if value is not None}


def _text(value: Any) -> str:
    return ", ".join(str(part) for part in value) if isinstance(value, list | tuple) else str(value)
