"""The dynamic-margin map (UniFEx, Appendix Fig. 1): margin of a class against its number of training images.

draw(bench, table)        # a Figure, or None for a recipe without dynamic-arcface or without its images
"""

import polars as pl
import torch
from matplotlib.figure import Figure

from probe.losses import config as losses
from probe.losses.dynamic import margins_by_size
from probe.tables.bench import Bench
from probe.tables.figures.style import FAINT, house_style, look
from probe.tables.table import Table

CAPTION = (
    "Margin f(n) in radians of a class with n training images, between the least and the most of this recipe; "
    "grey: how many classes of the training set have about n images."
)


def draw(bench: Bench, _table: Table) -> Figure | None:
    """One line a setting of the margins, over the class sizes of the recipe's training split."""
    settings = {
        f"{row.name}: {_range(loss.margins)}": loss.margins
        for row in bench.recipe.rows
        for run in row.runs[:1]
        if isinstance(loss := run.loss, losses.DynamicArcFace)
    }
    if not settings or bench.manifest is None:
        return None
    train = bench.manifest.frame.filter(pl.col("split") == "train")
    sizes = train.group_by("domain", "label").len()["len"].to_numpy()
    if not len(sizes):
        return None
    n = torch.arange(int(sizes.min()), int(sizes.max()) + 1)
    with house_style():
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.subplots()
        counts = axes.twinx()
        bins = min(40, len(n))
        counts.hist(sizes, bins=bins, range=(sizes.min(), sizes.max() + 1), color=FAINT, alpha=0.45)
        counts.set_ylabel("classes")
        counts.grid(False)
        axes.set_zorder(counts.get_zorder() + 1)
        axes.patch.set_visible(False)
        for number, (name, margins) in enumerate(settings.items()):
            style = look(number)
            style["marker"] = ""
            axes.plot(n.numpy(), margins_by_size(n, margins).numpy(), label=name, linewidth=2, **style)
        axes.set_xlabel("n, training images of the class")
        axes.set_ylabel("margin f(n), radians")
        axes.set_ylim(0, 1.1 * max(margins.most for margins in settings.values()))
        axes.margins(x=0.02)
        figure.legend(loc="outside lower center")
    return figure


def _range(margins: losses.CosineMargins | losses.PowerMargins) -> str:
    return f"{margins.kind}, {margins.least:g} to {margins.most:g}"
