"""mMP@5 against the number of parameters (UniFEx, Fig. 1): a bubble's area is the number of those that are trained.

Both numbers are counted from the row's configuration, or printed; the class matrix is trained, and part of the total.

    draw(bench, table)        # a Figure, or None where all rows have the same size
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from probe.data.selection import CLASS
from probe.planning.inventory import Bench
from probe.recipes.display import PARAMETERS, written
from probe.recipes.reference import MEAN
from probe.recipes.row import Row
from probe.report.figures.style import COLOURS, INK, house_style
from probe.report.model_size import SIZE, parameters
from probe.report.table import Table

METRIC = "mMP@5"
TOTAL, TRAINED = PARAMETERS
LOG_FROM = 8  # times as many parameters in the largest as in the smallest
LARGEST = 1600  # points², the area of the bubble with most trained parameters
CAPTION = (
    "mMP@5 against the parameters of backbone, head and class matrix; the area of a bubble is the number of trained "
    "ones. Printed values are of the paper's own benchmark: compare their order, not their height. Rows without a "
    "score or a known size have no bubble."
)


@dataclass(frozen=True)
class Point:
    """`total`, `trained`: numbers of parameters; `score` in percent."""

    name: str
    total: float
    trained: float
    score: float


def measured(bench: Bench, table: Table) -> list[Point]:
    """One a row that is measured and whose size is known; specialists, several models, have none."""
    found = []
    for row, line in zip(bench.recipe.rows, table.rows, strict=True):
        cell = line.cells.get(MEAN, {}).get(METRIC)
        sizes = _counted(row, bench) if cell else {}
        if cell and sizes:
            found.append(Point(row.name, sizes[TOTAL], sizes[TRAINED], cell.mean))
    return found


def _counted(row: Row, bench: Bench) -> Mapping[str, float]:
    features = bench.features.get(row.features_name) if row.runs else None
    return parameters(row, features.frame("train").select(CLASS).n_unique()) if features else {}


def printed(table: Table) -> list[Point]:
    """One a row that has a printed size and score."""
    found = {}
    for row in table.rows:
        score, sizes = row.printed.get(MEAN, {}).get(METRIC), row.printed.get(SIZE, {})
        if score and sizes.keys() >= set(PARAMETERS):
            name = row.comparison.printed or row.name
            found[name] = Point(name, sizes[TOTAL].value, sizes[TRAINED].value, score.value)
    return list(found.values())


def draw(bench: Bench, table: Table) -> Figure | None:
    """None where no sizes are printed and all measured rows have the same backbones."""
    ours = measured(bench, table)
    theirs = printed(table)
    backbones = {tuple(backbone.name for backbone in row.backbones) for row in bench.recipe.rows}
    if not (ours or theirs) or (not theirs and len(backbones) < 2):
        return None
    return figure(ours, theirs)


def figure(ours: list[Point], theirs: list[Point]) -> Figure:
    """Printed points hollow, measured ones filled; the number beside each is explained at the right."""
    points = [*theirs, *ours]
    largest = max(point.trained for point in points) or 1
    with house_style():
        drawn = Figure(figsize=(9, 4.4), layout="constrained")
        axes = drawn.subplots()
        for number, point in enumerate(points, start=1):
            area = max(12.0, LARGEST * point.trained / largest)
            colour, face = (INK, "none") if number <= len(theirs) else (COLOURS[0], COLOURS[0])
            said = "printed" if number <= len(theirs) else "measured"
            label = f"{number}  {point.name}\n    {said}, {written(TRAINED, point.trained)} trained"
            axes.scatter(point.total, point.score, area, facecolor=face, edgecolor=colour, alpha=0.75, linewidth=1.4)
            axes.plot([], [], "o", color=colour, markerfacecolor=face, markersize=6, label=label)
            beside = 3 + (area / np.pi) ** 0.5 * 0.75
            axes.annotate(str(number), (point.total, point.score), (beside, beside), textcoords="offset points")
        totals = [point.total for point in points]
        if max(totals) > LOG_FROM * min(totals):
            axes.set_xscale("log")
        axes.margins(x=0.12, y=0.15)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:,g} M")
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        axes.set_xlabel("parameters, total")
        axes.set_ylabel(f"{METRIC} (%)")
        drawn.legend(loc="outside right upper", fontsize=8.5, labelspacing=0.9)
    return drawn
