"""Per-domain heat map (UnED, Table S4): rows x domains, what was measured and, beside it, what the paper printed.

draw(bench, table)        # a Figure, or None where there are not two rows and two domains
"""

import numpy as np
from matplotlib.figure import Figure

from probe.tables.bench import Bench
from probe.tables.figures.style import INK, house_style
from probe.tables.table import Table

METRIC = "mMP@5"
ON_DARK, ON_BRIGHT = "#fefefe", "#000000"  # cells keep their colours on a dark page, and so does their text
CAPTION = "mMP@5 in % of each row on each domain. The scale is the same for measured and printed values."


def values(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Measured and printed (rows, domains) in percent, NaN where there is nothing."""
    columns = table.domains
    measured = [
        [row.cells[column][METRIC].mean if METRIC in row.cells.get(column, {}) else np.nan for column in columns]
        for row in table.rows
    ]
    printed = [
        [row.printed[column][METRIC].value if METRIC in row.printed.get(column, {}) else np.nan for column in columns]
        for row in table.rows
    ]
    return np.array(measured, float), np.array(printed, float)


def draw(_bench: Bench, table: Table) -> Figure | None:
    """None where fewer than two rows or two domains have a value."""
    columns = table.domains
    panels = {
        title: panel
        for title, panel in zip(("Measured", "Printed"), values(table), strict=True)
        if panel.size and np.isfinite(panel).sum() >= 2
    }
    if len(table.rows) < 2 or len(columns) < 2 or not panels:
        return None
    names = [row.name for row in table.rows]
    every = np.concatenate([*panels.values()])
    lowest, highest = 10 * np.floor(np.nanmin(every) / 10), 10 * np.ceil(np.nanmax(every) / 10 + 1e-9)
    with house_style():
        size = (2.2 + 0.62 * len(columns) * len(panels), 1.3 + 0.34 * len(names))
        figure = Figure(figsize=size, layout="constrained")
        for number, (title, panel) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(1, len(panels), number)
            cells = axes.imshow(panel, cmap="cividis", vmin=lowest, vmax=highest, aspect="auto")
            for (row, column), value in np.ndenumerate(panel):
                ink = INK if np.isnan(value) else ink_on(cells.cmap(cells.norm(value)))
                text = "–" if np.isnan(value) else f"{value:.1f}"
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
