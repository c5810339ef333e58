"""The dynamic-margin map (UniFEx, Appendix Fig. 1): margin of a class against its number of training images.

Where the training images are not here, relative margins, such as cosine ones, are drawn over the position between the
smallest and the largest class, on which alone they depend.

    draw(inventory, table)        # a Figure, or None for a recipe whose losses have one margin for all classes
"""

from collections.abc import Mapping

import numpy as np
import polars as pl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probe.fit import TrainedConfig
from probe.losses import SizeMargins
from probe.planning import Inventory
from probe.report.figures.figure import FigureKind
from probe.report.figures.style import FAINT, house_style, line_style
from probe.report.table import Table

CAPTION = (
    "Margin f(n) in radians of a class with n training images, between the least and the most of this recipe. "
    "Grey: how many classes of the training set have about n images, where it is here."
)


def draw(inventory: Inventory, _table: Table) -> Figure | None:
    """One line a setting of the margins, over the class sizes of the recipe's training split; a point each where all
    classes are of one size."""
    settings = {
        f"{row.name}: {_range(margins)}": margins
        for row in inventory.recipe.rows
        for run in row.runs[:1]
        if isinstance(run, TrainedConfig) and (margins := run.loss.size_margins) is not None
    }
    sizes = _class_sizes(inventory)
    if sizes is None:
        settings = {name: margins for name, margins in settings.items() if margins.relative}
    if not settings:
        return None
    with house_style():
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.subplots()
        if sizes is None:
            _plot(axes, settings, torch.arange(1, 102), np.arange(101))
            axes.set_xlabel("n, training images of the class, from the least (0) to the most (100)")
        else:
            n = torch.arange(int(sizes.min()), int(sizes.max()) + 1)
            _histogram(axes, sizes, min(40, len(n)))
            _plot(axes, settings, n, n.numpy())
            axes.set_xlabel("n, training images of the class")
        figure.legend(loc="outside lower center")
    return figure


def _class_sizes(inventory: Inventory) -> np.ndarray | None:
    if inventory.manifest is None:
        return None
    train = inventory.manifest.frame.filter(pl.col("split") == "train")
    sizes = train.group_by("domain", "label").len()["len"].to_numpy()
    return sizes if len(sizes) else None


def _plot(axes: Axes, settings: Mapping[str, SizeMargins], n: torch.Tensor, at: np.ndarray) -> None:
    for number, (name, margins) in enumerate(settings.items()):
        style = line_style(number) | {"marker": "o" if len(n) == 1 else "", "linewidth": 2}
        axes.plot(at, margins.of(n).numpy(), label=name, **style)
    axes.set_ylabel("margin f(n), radians")
    axes.set_ylim(0, 1.1 * max(margins.most for margins in settings.values()))
    axes.margins(x=0.02)


def _histogram(axes: Axes, sizes: np.ndarray, bins: int) -> None:
    """Behind the lines, on a scale of its own."""
    counts = axes.twinx()
    counts.hist(sizes, bins=bins, range=(sizes.min(), sizes.max() + 1), color=FAINT, alpha=0.45)
    counts.set_ylabel("classes")
    counts.grid(False)
    axes.set_zorder(counts.get_zorder() + 1)
    axes.patch.set_visible(False)


def _range(margins: SizeMargins) -> str:
    return f"{margins.kind}, {margins.least:g} to {margins.most:g}"


FIGURE = FigureKind("margins", "Dynamic margins", CAPTION, draw, position=4)
