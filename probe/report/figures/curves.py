"""Learning curves: training loss and validation mMP@5 over the epochs, a line a row, a band over its seeds.

draw(inventory, table)        # a Figure, or None where no trained run is finished
"""

import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from probe.fit import EpochRecord, TrainedConfig
from probe.planning import Inventory
from probe.report.figures.figure import FigureKind
from probe.report.figures.style import COLOURS, FAINT, house_style, line_style
from probe.report.table import Table

METRIC = "mMP@5"
MOST_LINES = 8  # that one pair of axes can hold
PANELS_ACROSS = 4
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")
CAPTION = (
    "Training loss and validation mMP@5 after each epoch: mean over the seeds, band from the lowest to the highest. "
    f"Where there are more than {MOST_LINES} lines, each has a panel, of validation alone, and the others are grey in "
    "it."
)


@dataclass(frozen=True)
class Curve:
    """Of one row, or of one specialist; as many epochs as the shortest of the seeds has."""

    name: str
    loss: np.ndarray
    """(seeds, epochs), of training."""
    val: np.ndarray
    """(seeds, epochs), the validation METRIC in percent."""


def curves(inventory: Inventory) -> list[Curve]:
    """One a row that has finished trained runs; of specialists, one a domain."""
    histories: dict[str, list[list[EpochRecord]]] = {}
    for row in inventory.recipe.rows:
        for run in inventory.runs_of[row.name]:
            if run.done and isinstance(run.config, TrainedConfig):
                name = f"{row.name}: {run.config.domain}" if row.specialists else row.name
                histories.setdefault(name, []).append(run.directory.history)
    return [_curve(name, found) for name, found in histories.items()]


def _curve(name: str, histories: list[list[EpochRecord]]) -> Curve:
    epochs = min(map(len, histories))
    loss = [[record.loss for record in records[:epochs]] for records in histories]
    val = [[100 * record.val.get(METRIC, np.nan) for record in records[:epochs]] for records in histories]
    return Curve(name, np.array(loss), np.array(val))


def draw(inventory: Inventory, _table: Table) -> Figure | None:
    """None where no trained run is finished."""
    lines = curves(inventory)
    if not lines:
        return None
    with house_style():
        return _panels(lines) if len(lines) > MOST_LINES else _together(lines)


def _together(lines: list[Curve]) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, part, title in ((left, "loss", "Training loss"), (right, "val", f"Validation {METRIC} (%)")):
        for number, line in enumerate(lines):
            style = line_style(number) | {"markersize": 4, "linewidth": 1.6, "label": line.name}
            _plot(axes, getattr(line, part), style)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if min(line.loss.min() for line in lines) > 0:
        left.set_yscale("log")
        left.yaxis.set_major_formatter(PLAIN)
        left.yaxis.set_minor_formatter(lambda value, _: PLAIN(value, 0) if f"{value:e}"[0] in "25" else "")
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(lines)))
    return figure


def _panels(lines: list[Curve]) -> Figure:
    """Validation only: a panel a line, with the others in grey behind it."""
    down = -(-len(lines) // PANELS_ACROSS)
    figure = Figure(figsize=(9, 0.5 + 1.5 * down), layout="constrained")
    panels = figure.subplots(down, PANELS_ACROSS, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, line in zip(panels, lines, strict=False):
        for other in lines:
            if other is not line:
                mean = other.val.mean(0)
                axes.plot(np.arange(1, len(mean) + 1), mean, color=FAINT, alpha=0.35, linewidth=0.8)
        _plot(axes, line.val, {"color": COLOURS[0], "linewidth": 1.8})
        axes.set_title(textwrap.fill(line.name, 30), fontsize=8)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    for axes in panels[len(lines) :]:
        axes.set_axis_off()
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel(f"validation {METRIC} (%)", fontsize=9)
    return figure


def _plot(axes: Axes, values: np.ndarray, style: dict[str, Any]) -> None:
    """`values` (seeds, epochs): their mean over the seeds, and a band where there are several."""
    epochs = np.arange(1, values.shape[1] + 1)
    axes.plot(epochs, values.mean(0), **style)
    if len(values) > 1:
        axes.fill_between(epochs, values.min(0), values.max(0), color=style["color"], alpha=0.15, lw=0)


FIGURE = FigureKind("curves", "Learning curves", CAPTION, draw, position=2)
