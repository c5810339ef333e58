"""Learning curves: training loss and validation mMP@5 over the epochs, a line a row, a band over its seeds.

draw(bench, table)        # a Figure, or None where no trained run is finished
"""

import json
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from probe.fit.run import Run
from probe.tables.bench import Bench
from probe.tables.figures.style import house_style, look
from probe.tables.table import Table

SELECTS = "mMP@5"
CAPTION = (
    "Training loss and validation mMP@5 after each epoch: mean over the seeds, band from the lowest to the highest."
)


@dataclass(frozen=True)
class Curve:
    """`loss`, `val` (seeds, epochs), as far as the shortest of the seeds goes; `val` in percent."""

    name: str
    loss: np.ndarray
    val: np.ndarray


def curves(bench: Bench) -> list[Curve]:
    """One a row that has finished trained runs; of specialists, one a domain."""
    histories: dict[str, list[list[dict]]] = {}
    for row in bench.recipe.rows:
        for run in bench.runs_of[row.name]:
            if run.done and run.config.trained:
                name = f"{row.name}: {run.config.domain}" if row.specialists else row.name
                histories.setdefault(name, []).append(history(run))
    return [_curve(name, found) for name, found in histories.items()]


def _curve(name: str, histories: list[list[dict]]) -> Curve:
    epochs = min(map(len, histories))
    loss = [[record["loss"] for record in records[:epochs]] for records in histories]
    val = [[100 * record["val"][SELECTS] for record in records[:epochs]] for records in histories]
    return Curve(name, np.array(loss), np.array(val))


def history(run: Run) -> list[dict]:
    """The lines of a finished run's history.jsonl."""
    return [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]


def draw(bench: Bench, _table: Table) -> Figure | None:
    """None where there is nothing to draw."""
    lines = curves(bench)
    if not lines:
        return None
    with house_style():
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for axes, part, title in ((left, "loss", "Training loss"), (right, "val", "Validation mMP@5 (%)")):
            for number, line in enumerate(lines):
                values = getattr(line, part)
                epochs = np.arange(1, values.shape[1] + 1)
                style = look(number)
                axes.plot(epochs, values.mean(0), label=line.name, markersize=4, linewidth=1.6, **style)
                if len(values) > 1:
                    axes.fill_between(epochs, values.min(0), values.max(0), color=style["color"], alpha=0.15, lw=0)
            axes.set_title(title)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if min(line.loss.min() for line in lines) > 0:
            left.set_yscale("log")
            left.yaxis.set_major_formatter(LogFormatter())
            left.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.5)))  # within a decade, some of them
        handles, labels = right.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(lines)))
    return figure
