"""Recipes of tables that need no runs: data set statistics, another recipe's settings, printed values alone.

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
from typing import Annotated, Any, Literal, NamedTuple, Protocol

from pydantic import Field

from probe.data import PrintedTable, StatisticsRow, agrees, find_table, known_data, measured_tables
from probe.errors import UsageError, nearest
from probe.recipes.display import StaticDisplay, format_value
from probe.recipes.printed import PrintedValues
from probe.recipes.row import PrintedRelation, Row, checked_relation
from probe.recipes.training_sets import curation_commands
from probe.validation import Strict
from probe.workspace import Workspace


@dataclass(frozen=True)
class StaticValues:
    """The values of a table without runs, as far as they are known on this machine."""

    values: dict[str, dict[str, float | str]]
    """By row and metric."""
    missing: list[str] = field(default_factory=list)
    """Reasons for rows without values."""
    commands: list[str] = field(default_factory=list)
    """What to run to get the missing values."""
    notes: list[str] = field(default_factory=list)


class StaticSource(Protocol):
    """Where the values of a table without runs come from."""

    def read(self, workspace: Workspace) -> StaticValues: ...


class StaticTable(NamedTuple):
    rows: list[Row]
    display: StaticDisplay
    source: StaticSource


class _StaticRecipe(Strict):
    title: str
    about: str = ""
    reference: str


class StatisticsRecipe(_StaticRecipe):
    kind: Literal["statistics"]
    of: str


class PrintedOnly(Strict):
    """In the place of a setting that the other recipe lacks: why."""

    because: str = Field(alias="printed-only")


class SettingsRecipe(_StaticRecipe):
    kind: Literal["settings"]
    of: str
    row: str
    settings: Annotated[dict[str, str | PrintedOnly], Field(min_length=1)]


class PrintedRecipe(_StaticRecipe):
    kind: Literal["printed"]
    because: str


STATIC_RECIPES = {"statistics": StatisticsRecipe, "settings": SettingsRecipe, "printed": PrintedRecipe}


@dataclass(frozen=True)
class DatasetStatistics:
    """Counts the data sets of a printed table in the annotations on this machine."""

    table: PrintedTable
    recipes: Path
    """The folder of the recipes, where the curation recipes are too."""

    def read(self, workspace: Workspace) -> StaticValues:
        read = partial(known_data, data_root=workspace.data_root, datasets=workspace.datasets)
        [measured] = measured_tables(read, [self.table])
        values: dict[str, dict[str, float | str]] = {}
        missing: dict[str, list[str]] = {}
        commands: dict[str, None] = {}
        for row in measured.rows:
            if row.measured is not None:
                values[row.printed.place] = {str(column): value for column, value in row.measured.items()}
            elif row.printed.data is not None:
                missing.setdefault(row.state, []).append(row.printed.place)
                commands |= dict.fromkeys(self._commands(row.printed.data, workspace))
        reasons = [f"{state}: {', '.join(names)}" for state, names in missing.items()]
        return StaticValues(values, reasons, list(commands), list(self._differences(measured.rows)))

    def _differences(self, rows: Sequence[StatisticsRow]) -> Iterator[str]:
        """Where a count, rounded as the paper rounds it, is not the printed one."""
        for row in rows:
            for column, printed in zip(self.table.columns, row.printed.printed, strict=False):
                if row.measured is not None and not agrees(row.measured[column], printed):
                    texts = (format_value(column, value) for value in (row.measured[column], printed))
                    yield f"{row.printed.place}: {column}: {' counted, '.join(texts)} printed"

    def _commands(self, data: str, workspace: Workspace) -> list[str]:
        """What draws a data set, or else tells where to get it."""
        instructions = shlex.join(["probe", "data", "list", data, *workspace.options("data_root")])
        return curation_commands([data], self.recipes, workspace) or [instructions]


@dataclass(frozen=True)
class FixedValues:
    """Values that are known without looking at the disk; by row and metric."""

    values: dict[str, dict[str, float | str]]

    def read(self, workspace: Workspace) -> StaticValues:
        return StaticValues(self.values)


def statistics_table(file: StatisticsRecipe, reference: PrintedValues, path: Path) -> StaticTable:
    """Raises UsageError for a table that probe/data/statistics.yaml lacks."""
    try:
        table = find_table(file.of)
    except UsageError as error:
        raise UsageError(f"{path}: of: {error}") from error
    rows = []
    for row in table.rows:
        compared = "printed-only" if row.data is None and not row.total else "recomputed"
        because = {"because": row.note} if row.note else {}
        relation = PrintedRelation.model_validate({"printed": row.place, "compared": compared, **because})
        rows.append(_row(row.place, relation, reference, path))
    description = "Counted in the published annotations that are here; printed as the paper rounds."
    display = StaticDisplay(metrics=table.columns, description=description)
    return StaticTable(rows, display, DatasetStatistics(table, path.parent))


def settings_table(
    file: SettingsRecipe, other_rows: Sequence[Row], reference: PrintedValues, path: Path
) -> StaticTable:
    """`other_rows`: of the recipe `of`. Raises UsageError for a row or a setting that it lacks."""
    by_name = {row.name: row for row in other_rows}
    if file.row not in by_name:
        raise UsageError(f"{path}: row: {file.of} has no row '{file.row}'; {nearest(file.row, by_name)}")
    known = _settings(by_name[file.row])
    rows, values = [], {}
    for name, place in file.settings.items():
        if isinstance(place, str) and place not in known:
            raise UsageError(f"{path}: settings.{name}: '{file.row}' has no {place}; {nearest(place, known)}")
        if isinstance(place, str):
            values[name] = {"setting": known[place]}
            relation = PrintedRelation(printed=name, compared="recomputed")
        else:
            relation = PrintedRelation(printed=name, compared="printed-only", because=place.because)
        rows.append(_row(name, relation, reference, path))
    description = f"As `{file.of}` has them in its row '{file.row}'."
    return StaticTable(rows, StaticDisplay(metrics=("setting",), description=description), FixedValues(values))


def printed_table(file: PrintedRecipe, reference: PrintedValues, path: Path) -> StaticTable:
    """Every row of the reference, in its order."""
    metrics = dict.fromkeys(metric for row in reference.rows.values() for values in row.values() for metric in values)
    relations = {
        name: PrintedRelation(printed=name, compared="printed-only", because=file.because) for name in reference.rows
    }
    rows = [_row(name, relation, reference, path) for name, relation in relations.items()]
    display = StaticDisplay(metrics=tuple(metrics), description="As the paper prints it.")
    return StaticTable(rows, display, FixedValues({}))


def _row(name: str, relation: PrintedRelation, reference: PrintedValues, path: Path) -> Row:
    return Row(name, [], [], checked_relation(f"{path}: row '{name}'", relation, reference))


def _settings(row: Row) -> dict[str, str]:
    """`training.lr`, `backbone.px`, `train`: all settings of a row's runs, as text."""
    config = row.runs[0].model_dump()
    backbone = row.backbones[0]
    sections = {"backbone": backbone.row.model_dump(), **{name: config[name] for name in ("head", "loss", "training")}}
    found = {f"{section}.{key}": value for section, values in sections.items() for key, value in (values or {}).items()}
    found |= {"train": row.train}
    return {place: _text(value) for place, value in found.items() if value is not None}


def _text(value: Any) -> str:
    return ", ".join(str(part) for part in value) if isinstance(value, list | tuple) else str(value)
