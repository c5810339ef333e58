"""Strips of images with a name before each, as one figure: right ones framed green with a tick, wrong ones red with a
cross.

mosaic([Strip("coins", [Tile(picture), Tile(other, hit=True, label="coins"), None])])
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageOps

from probe.report.figures.style import FAINT, HIT, MISS, house_style

PX = 128  # of a tile's side
INCHES = 1.05  # from tile to tile
TILE = 0.9  # side of a tile, of the distance between two
SPACE = 0.25  # between strips that stand apart, as a tile's side
LONGEST = 19  # characters of a label that a tile has room for
MISSING = "#cccccc"


@dataclass(frozen=True)
class Tile:
    """One image of a strip."""

    picture: Image.Image | None
    """None for an image that is gone: a grey field."""
    hit: bool | None = None
    """Whether it is right; None for a query."""
    framed: bool = True
    label: str = ""
    """At its lower edge."""


@dataclass(frozen=True)
class Strip:
    """One row of tiles."""

    name: str
    tiles: Sequence[Tile | None]
    """None leaves a place empty."""
    apart: bool = False
    """Whether there is space above it."""


def mosaic(strips: Sequence[Strip], titles: Mapping[int, str] | None = None) -> Figure:
    """Tiles are squares of one size; other images stand on white, or are cropped where they have no frame. `titles`: of
    parts of the figure, by the place of the tile above which they begin."""
    across = max(len(strip.tiles) for strip in strips)
    tops = [y + SPACE * sum(strip.apart for strip in strips[: y + 1]) for y in range(len(strips))]
    with house_style():
        figure = Figure(figsize=(INCHES * across, INCHES * (tops[-1] + 1)))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, across)
        axes.set_ylim(tops[-1] + 1, 0)
        for x, title in (titles or {}).items():
            axes.text(x, 0, title, va="bottom", fontsize=11)
        for y, strip in zip(tops, strips, strict=True):
            axes.text(-0.1, y + TILE / 2, strip.name, ha="right", va="center", fontsize=9)
            for x, tile in enumerate(strip.tiles):
                if tile is not None:
                    _draw(axes, x, y, tile)
    return figure


def _draw(axes: Axes, x: int, y: float, tile: Tile) -> None:
    picture = tile.picture if tile.picture is not None else Image.new("RGB", (PX, PX), MISSING)
    square = ImageOps.pad(picture, (PX, PX), color="white") if tile.framed else ImageOps.fit(picture, (PX, PX))
    axes.imshow(square, extent=(x, x + TILE, y + TILE, y), aspect="auto", zorder=1)
    if not tile.framed:
        return
    colour = FAINT if tile.hit is None else HIT if tile.hit else MISS
    frame = Rectangle((x, y), TILE, TILE, fill=False, edgecolor=colour, linewidth=3, zorder=2)
    axes.add_patch(frame)
    if tile.label:
        short = tile.label if len(tile.label) <= LONGEST else f"{tile.label[: LONGEST - 1]}…"
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(x + TILE / 2, y + TILE - 0.04, short, ha="center", va="bottom", fontsize=6, bbox=box, zorder=3)
    if tile.hit is not None:
        box = {"facecolor": colour, "edgecolor": "none", "pad": 1.5}
        axes.text(x + 0.04, y + 0.04, "✓" if tile.hit else "✗", color="white", va="top", fontsize=9, bbox=box, zorder=3)
