"""Pictures in rows with a name before each, as one figure: what is right framed green with a tick, what is wrong framed
red with a cross.

mosaic([Strip("coins", [Tile(picture), Tile(other, hit=True), None])])
"""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageOps

from probe.report.figures.style import FAINT, HIT, MISS, house_style

PX = 128  # of a tile's side
INCHES = 1.05  # from tile to tile
INSIDE = 0.9  # the tile's share of it
GONE = "#cccccc"


@dataclass(frozen=True)
class Tile:
    """`picture`: None for one that is gone, a grey field. `hit`: None for a query or where nothing is judged."""

    picture: Image.Image | None
    hit: bool | None = None
    framed: bool = True


@dataclass(frozen=True)
class Strip:
    """One row; None leaves a tile's place empty."""

    name: str
    tiles: Sequence[Tile | None]


def mosaic(strips: Sequence[Strip]) -> Figure:
    """Tiles of one size: what is not square stands on white."""
    across = max(len(strip.tiles) for strip in strips)
    with house_style():
        figure = Figure(figsize=(INCHES * across, INCHES * len(strips)))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, across)
        axes.set_ylim(len(strips), 0)
        for y, strip in enumerate(strips):
            axes.text(-0.1, y + INSIDE / 2, strip.name, ha="right", va="center", fontsize=9)
            for x, tile in enumerate(strip.tiles):
                if tile is not None:
                    _draw(axes, x, y, tile)
    return figure


def _draw(axes: Axes, x: int, y: int, tile: Tile) -> None:
    picture = tile.picture if tile.picture is not None else Image.new("RGB", (PX, PX), GONE)
    square = ImageOps.pad(picture, (PX, PX), color="white") if tile.framed else ImageOps.fit(picture, (PX, PX))
    axes.imshow(square, extent=(x, x + INSIDE, y + INSIDE, y), aspect="auto", zorder=1)
    if not tile.framed:
        return
    colour = FAINT if tile.hit is None else HIT if tile.hit else MISS
    frame = Rectangle((x, y), INSIDE, INSIDE, fill=False, edgecolor=colour, linewidth=3, zorder=2)
    axes.add_patch(frame)
    if tile.hit is not None:
        box = {"facecolor": colour, "edgecolor": "none", "pad": 1.5}
        axes.text(x + 0.04, y + 0.04, "✓" if tile.hit else "✗", color="white", va="top", fontsize=9, bbox=box, zorder=3)
