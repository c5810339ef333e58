"""Per-domain heat map (UnED, Table S4): rows x domains, measured values and, beside them, the printed ones.

draw(inventory, table)        # a Figure, or None where there are not two rows and two domains
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from probe.planning import Inventory
from probe.recipes import PrintedValue, format_value, is_score
from probe.report.figures.figure import FigureKind
from probe.report.figures.style import INK, house_style
from probe.report.table import Cell, Table

METRIC = "mMP@5"  # or the first of a table without it
ON_DARK, ON_BRIGHT = "#fefefe", "#000000"  # cells keep their colours on a dark page, and so does their text
CAPTION = (
    "Each row on each domain, in %. Colours compare the rows of one domain, from its lowest value to its highest, "
    "measured or printed, and say nothing of how hard it is; rows and domains without any value are left out."
)


@dataclass(frozen=True)
class HeatmapValues:
    """Of the rows and domains that have any."""

    metric: str
    rows: list[str]
    domains: list[str]
    measured: np.ndarray
    """(rows, domains) in percent; NaN where there is none."""
    printed: np.ndarray
    """(rows, domains) in percent; NaN where there is none."""


def heatmap_values(table: Table) -> HeatmapValues:
    """Of METRIC, or of the first metric of the table."""
    metrics = table.recipe.display.metrics
    metric = METRIC if METRIC in metrics else metrics[0]
    domains = table.domains
    measured = [[_number(row.cell(domain, metric)) for domain in domains] for row in table.rows]
    printed = [[_number(row.printed_value(domain, metric)) for domain in domains] for row in table.rows]
    both = np.array([measured, printed], float).reshape(2, len(table.rows), len(domains))
    rows, columns = (np.flatnonzero(np.isfinite(both).any((0, axis))) for axis in (2, 1))
    names = [table.rows[row].name for row in rows]
    return HeatmapValues(metric, names, [domains[column] for column in columns], *both[:, rows][:, :, columns])


def _number(found: Cell | PrintedValue | None) -> float:
    return np.nan if found is None else found.mean if isinstance(found, Cell) else found.value


def draw(_inventory: Inventory, table: Table) -> Figure | None:
    """None where fewer than two rows or two domains have a value, or it is no score."""
    found = heatmap_values(table)
    names, columns = found.rows, found.domains
    panels = {
        f"{title} {found.metric}": panel
        for title, panel in (("Measured", found.measured), ("Printed", found.printed))
        if np.isfinite(panel).sum() >= 2
    }
    if len(names) < 2 or len(columns) < 2 or not panels or not is_score(found.metric):
        return None
    every = np.concatenate([*panels.values()])
    lowest, highest = np.nanmin(every, axis=0), np.nanmax(every, axis=0)  # of each domain
    spread = np.where(highest > lowest, highest - lowest, 1)
    with house_style():
        size = (2.2 + 0.62 * len(columns) * len(panels), 1.3 + 0.34 * len(names))
        figure = Figure(figsize=size, layout="constrained")
        for number, (title, panel) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(1, len(panels), number)
            shades = (panel - lowest) / spread
            cells = axes.imshow(shades, cmap="cividis", vmin=0, vmax=1, aspect="auto")
            for (row, column), value in np.ndenumerate(panel):
                ink = INK if np.isnan(value) else ink_on(cells.cmap(float(shades[row, column])))
                text = "–" if np.isnan(value) else format_value(found.metric, value)
                axes.text(column, row, text, ha="center", va="center", fontsize=8.5, color=ink)
            axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(len(names)), names if number == 1 else [""] * len(names))
            axes.set_title(title)
            axes.grid(False)
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
    return figure


def ink_on(colour: tuple[float, float, float, float]) -> str:
    """Whichever of the two has more contrast (WCAG) on an sRGB colour; it is 4.5 at least."""
    channels = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3])
    luminance = sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), channels, strict=True))
    return ON_DARK if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else ON_BRIGHT


FIGURE = FigureKind("heatmap", "Domains", CAPTION, draw, position=3)
