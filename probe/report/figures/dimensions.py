"""The mean mMP@5 against the length of the embedding: a line for each head that rows have at several lengths.

draw(inventory, table)        # a Figure, or None where no head is there at four lengths
"""

import re
from dataclasses import dataclass

from matplotlib.figure import Figure

from probe.fit import RunConfig
from probe.heads import FullDimension
from probe.planning import Inventory
from probe.recipes import MEAN
from probe.report.figures.figure import FigureKind
from probe.report.figures.style import INK, house_style, line_style
from probe.report.table import Table

METRIC = "mMP@5"
LEAST = 4  # lengths that make a line
LENGTH = re.compile(r",? \d+-d$")  # at the end of a row's name
CAPTION = (
    "Mean mMP@5 of the merged index against the length of the embedding, of rows that differ in nothing else. A dotted "
    "line is a row that keeps all dimensions of its features."
)


@dataclass(frozen=True)
class Line:
    """Of one head on certain features."""

    name: str
    features: str
    points: dict[int, float]
    """By length of the embedding, in percent."""
    whole: bool
    """Whether it is the features themselves."""


def lines(inventory: Inventory, table: Table) -> list[Line]:
    """Those with four lengths at least, and the features that they start from."""
    found: dict[str, Line] = {}
    for row, table_row in zip(inventory.recipe.rows, table.rows, strict=True):
        cell = table_row.cell(MEAN, METRIC)
        done = [run for run in inventory.runs_of[row.name] if run.done]
        if cell and done:
            config = row.runs[0]
            whole = config.head.kind == FullDimension.Config().kind
            line = Line(LENGTH.sub("", row.name), config.features_name, {}, whole)
            found.setdefault(f"{_but_for_the_length(config)} {row.train}", line).points[done[0].scores.dim] = cell.mean
    curves = [line for line in found.values() if len(line.points) >= LEAST]
    read = {line.features for line in curves}
    return curves + [line for line in found.values() if line.whole and line.features in read]


def _but_for_the_length(config: RunConfig) -> str:
    kept = config.model_dump(mode="json", exclude={"seed"})
    return str(kept | {"head": {option: value for option, value in kept["head"].items() if option != "dim"}})


def draw(inventory: Inventory, table: Table) -> Figure | None:
    """None where no head is there at four lengths."""
    drawn = lines(inventory, table)
    return figure(drawn) if drawn else None


def figure(drawn: list[Line]) -> Figure:
    """Heads as lines, features as they are as dotted ones across."""
    lengths = sorted({length for line in drawn if not line.whole for length in line.points})
    with house_style():
        found = Figure(figsize=(7, 4), layout="constrained")
        axes = found.subplots()
        for number, line in enumerate(line for line in drawn if not line.whole):
            along = sorted(line.points)
            values = [line.points[length] for length in along]
            axes.plot(along, values, label=line.name, linewidth=1.6, **line_style(number))
        for line in (line for line in drawn if line.whole):
            for length, value in line.points.items():
                axes.axhline(value, color=INK, linestyle=":", linewidth=1.2, label=f"{line.name} ({length:,}-d)")
        axes.set_xscale("log", base=2)
        axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
        axes.minorticks_off()
        axes.set_xlabel("dimensions of the embedding")
        axes.set_ylabel(f"{METRIC} (%)")
        found.legend(loc="outside lower center", ncols=2)
    return found


FIGURE = FigureKind("dimensions", "mMP@5 against dimensions", CAPTION, draw, position=7)
