"""mMP@5 against the number of parameters (UniFEx, Fig. 1): a bubble's area is the number of those that are trained.

What is printed comes from a reference file with the columns `# total params` and `# train params` (unifex_table6.csv).
Trained are the head and the loss's class matrix; a training-free head trains nothing.

    draw(bench, table)        # a Figure, or None where all rows have the same size
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from probe.tables.bench import Bench
from probe.tables.figures.style import COLOURS, INK, house_style
from probe.tables.reference import MEAN
from probe.tables.table import Table

METRIC = "mMP@5"
TOTAL, TRAINED = "# total params", "# train params"
UNITS = {"k": 1e3, "M": 1e6, "B": 1e9}
LOG_FROM = 8  # times as many parameters in the largest as in the smallest
LARGEST = 1600  # points², the area of the bubble with most trained parameters
CAPTION = (
    "mMP@5 against the parameters of backbone and head; the area of a bubble is the number of trained ones, a class "
    "matrix included. Printed values are of the paper's own benchmark: compare their order, not their height."
)


@dataclass(frozen=True)
class Point:
    """`total`, `trained`: numbers of parameters; `score` in percent."""

    name: str
    total: float
    trained: float
    score: float


def measured(bench: Bench, table: Table) -> list[Point]:
    """One a row that has a finished run and backbones whose size is known; specialists, several models, have none."""
    found = []
    for row, line in zip(bench.recipe.rows, table.rows, strict=True):
        run = next((run for run in bench.runs_of[row.name] if run.done), None)
        sizes = [backbone.row.params for backbone in row.backbones]
        cell = line.cells.get(MEAN, {}).get(METRIC)
        if run is not None and cell is not None and not row.specialists and None not in sizes:
            trained = sum(run.metrics.get("parameters", {}).values())
            found.append(Point(row.name, sum(filter(None, sizes)) + trained, trained, cell.mean))
    return found


def printed(path: Path) -> list[Point]:
    """The rows of a reference file that have a size and a score; a score of at most 1 is a fraction."""
    rows: dict[str, dict[str, float]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if line["metric"] in (TOTAL, TRAINED, METRIC):
                rows.setdefault(f"{line['row']}, {line['group'].lower()}", {})[line["metric"]] = count(line["value"])
    return [
        Point(name, row[TOTAL], row[TRAINED], row[METRIC] * (100 if row[METRIC] <= 1 else 1))
        for name, row in rows.items()
        if row.keys() >= {TOTAL, TRAINED, METRIC}
    ]


def count(text: str) -> float:
    """`1,045M` -> 1.045e9."""
    text = text.replace(",", "")
    return float(text[:-1]) * UNITS[text[-1]] if text[-1] in UNITS else float(text)


def draw(bench: Bench, table: Table) -> Figure | None:
    """None where the reference prints no sizes and all measured rows have the same backbones."""
    ours = measured(bench, table)
    reference = bench.recipe.reference
    theirs = printed(reference.path) if reference else []
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
            label = f"{number}  {point.name}\n    {said}, {short(point.trained)} trained"
            axes.scatter(point.total, point.score, area, facecolor=face, edgecolor=colour, alpha=0.75, linewidth=1.4)
            axes.plot([], [], "o", color=colour, markerfacecolor=face, markersize=6, label=label)
            beside = 3 + (area / np.pi) ** 0.5 * 0.75
            axes.annotate(str(number), (point.total, point.score), (beside, beside), textcoords="offset points")
        totals = [point.total for point in points]
        if max(totals) > LOG_FROM * min(totals):
            axes.set_xscale("log")
        axes.margins(x=0.12, y=0.15)
        axes.xaxis.set_major_formatter(lambda value, _: short(value))
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        axes.set_xlabel("parameters, total")
        axes.set_ylabel(f"{METRIC} (%)")
        drawn.legend(loc="outside right upper", fontsize=8.5, labelspacing=0.9)
    return drawn


def short(number: float) -> str:
    """1045000000 -> 1.04B."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"
