"""The style of all figures, and how they are saved: the same numbers give the same bytes, no meaning is in color alone.

Text stays text in the SVG, so that it can be searched, scaled and read aloud. `inline` is the SVG for an HTML page: its
ink follows the page's `--ink`, and its ids cannot meet those of another figure.

    with house_style():
        figure = Figure(figsize=(6, 4))
    svg(figure, "curves"), png(figure)
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.figure import Figure

INK = "#1c2024"
FAINT = "#8b8d98"
# Okabe and Ito's colours, those first that differ most; yellow, which white swallows, is left out.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", INK)
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HIT, MISS = "#008a3e", "#c8102e"
RC: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "text.parse_math": False,  # a domain may be called $x$
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.alpha": 0.3,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "savefig.bbox": "tight",
}
FONT = "'DejaVu Sans', Verdana, system-ui, sans-serif"
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@contextmanager
def house_style() -> Iterator[None]:
    """A context to draw and save figures in, whatever matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


def line_style(number: int) -> dict[str, Any]:
    """Color, dashes and marker of the n-th line; no two of the first 28 are the same."""
    colour = number % len(COLOURS)
    return {
        "color": COLOURS[colour],
        "linestyle": DASHES[number // len(COLOURS) % len(DASHES)],
        "marker": MARKERS[colour],
    }


def svg(figure: Figure, name: str) -> str:
    """The figure as SVG without a date, its ids made from `name`."""
    text = io.StringIO()
    with house_style():
        matplotlib.rcParams["svg.hashsalt"] = name
        figure.savefig(text, format="svg", metadata=NO_METADATA)
    return text.getvalue().replace("'DejaVu Sans'", FONT)


def png(figure: Figure) -> bytes:
    """The figure on white, 200 pixels an inch."""
    content = io.BytesIO()
    with house_style():
        figure.savefig(content, format="png", dpi=200, metadata={"Software": None})
    return content.getvalue()


def pdf(figure: Figure) -> bytes:
    """The figure as PDF without a date, its text as text."""
    content = io.BytesIO()
    with house_style():
        matplotlib.rcParams["pdf.fonttype"] = 42  # as TrueType, which conferences ask for
        figure.savefig(content, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return content.getvalue()


def inline(text: str, name: str) -> str:
    """An SVG as a part of an HTML page: no prologue, ids prefixed, ink from the page, its width in `--width`."""
    text = text[text.index("<svg") :]
    used = set(re.findall(r'(?:href="#|url\(#)([\w.-]+)', text))
    text = re.sub(r' id="([\w.-]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r'(href="#|url\(#)([\w.-]+)', rf"\1{name}-\2", text)
    text = re.sub(r' width="([\d.]+pt)" height="[\d.]+pt"', r' style="--width: \1"', text, count=1)
    text = re.sub(r"<style.*?</style>", "", text, count=1, flags=re.DOTALL)  # it would hold for the whole page
    return text.replace(INK, "var(--ink)").replace("#ffffff", "var(--page)").strip()
