"""mMP@5 against the number of parameters (UniFEx, Fig. 1): the area of a bubble is the number of trained ones.

Both numbers are counted from the row's configuration, or printed; the class matrix is trained, and part of the total.

    draw(inventory, table)        # a Figure, or None where all rows have the same size
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from probe.planning import Inventory
from probe.recipes import MEAN, PARAMETERS, Row, format_value
from probe.report.figures.figure import FigureKind
from probe.report.figures.style import COLOURS, INK, house_style
from probe.report.model_size import SIZE_COLUMN, ModelSize, model_size, training_classes
from probe.report.table import Table

METRIC = "mMP@5"
TOTAL, _, TRAINED = PARAMETERS
LOG_FROM = 8  # times as many parameters in the largest as in the smallest
LARGEST_AREA = 1600  # points², of the bubble with most trained parameters
CAPTION = (
    "mMP@5 against the parameters of backbone, head and class matrix; the area of a bubble is the number of trained "
    "ones. Printed values are of the paper's own benchmark: compare their order, not their height. Rows without a "
    "score or a known size have no bubble."
)


@dataclass(frozen=True)
class Point:
    name: str
    total: float
    """Parameters."""
    trained: float
    """Parameters."""
    score: float
    """In percent."""


def measured(inventory: Inventory, table: Table) -> list[Point]:
    """One a measured row with a known size; specialists, several models, have none."""
    points = []
    for row, table_row in zip(inventory.recipe.rows, table.rows, strict=True):
        cell = table_row.cell(MEAN, METRIC)
        size = _size(row, inventory) if cell else None
        if cell and size:
            points.append(Point(row.name, size.total, size.trained, cell.mean))
    return points


def _size(row: Row, inventory: Inventory) -> ModelSize | None:
    features = inventory.features_of(row)
    return model_size(row, training_classes(features)) if features else None


def printed(table: Table) -> list[Point]:
    """One a printed row with a size and a score."""
    points = {}
    for row in table.rows:
        score = row.printed_value(MEAN, METRIC)
        total, trained = (row.printed_value(SIZE_COLUMN, metric) for metric in (TOTAL, TRAINED))
        if score and total and trained:
            name = row.relation.printed or row.name
            points[name] = Point(name, total.value, trained.value, score.value)
    return list(points.values())


def draw(inventory: Inventory, table: Table) -> Figure | None:
    """None where no sizes are printed and all measured rows have the same backbones."""
    ours = measured(inventory, table)
    theirs = printed(table)
    backbones = {tuple(backbone.name for backbone in row.backbones) for row in inventory.recipe.rows}
    if not (ours or theirs) or (not theirs and len(backbones) < 2):
        return None
    return figure(ours, theirs)


def figure(ours: list[Point], theirs: list[Point]) -> Figure:
    """Printed points are hollow, measured ones filled; the legend explains the numbers beside them."""
    points = [*theirs, *ours]
    largest = max(point.trained for point in points) or 1
    with house_style():
        drawn = Figure(figsize=(9, 4.4), layout="constrained")
        axes = drawn.subplots()
        for number, point in enumerate(points, start=1):
            area = max(12.0, LARGEST_AREA * point.trained / largest)
            colour, face = (INK, "none") if number <= len(theirs) else (COLOURS[0], COLOURS[0])
            origin = "printed" if number <= len(theirs) else "measured"
            label = f"{number}  {point.name}\n    {origin}, {format_value(TRAINED, point.trained)} trained"
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


FIGURE = FigureKind("parameters", "mMP@5 against parameters", CAPTION, draw, position=1)
