"""The figures of a recipe: those kinds that its runs and images allow, as SVG and PNG.

Each kind is one file of this package with a `FIGURE`, a FigureKind; a new file is a new kind, nothing lists them.

for figure in draw_figures(inventory, table, photographs=False):
    figure.name, figure.svg, figure.png
write_figures(inventory, Path("out/figures"))       # quickstart_curves.svg, quickstart_curves.png, .pdf, ...
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from probe.planning import Inventory
from probe.report.figures.style import inline, pdf, png, svg
from probe.report.table import Table, build_table
from probe.storage import write_whole


@dataclass(frozen=True)
class FigureKind:
    """One kind of figure."""

    name: str
    """In file names: `quickstart_NAME.svg`."""
    title: str
    """Its heading in a report."""
    caption: str
    draw: Callable[[Inventory, Table], Figure | None]
    """None where there is nothing to draw."""
    position: int
    """Figures stand in this order."""
    photographs: bool = False
    """Whether it is made of the data's images; such figures are not part of a report."""


@dataclass(frozen=True)
class DrawnFigure:
    """A figure of one recipe."""

    kind: FigureKind
    name: str
    """Of recipe and kind, unique in a report."""
    figure: Figure

    @property
    def svg(self) -> str:
        return svg(self.figure, self.name)

    @property
    def inline(self) -> str:
        """The SVG for an HTML page."""
        return inline(self.svg, self.name)

    @property
    def png(self) -> bytes:
        return png(self.figure)

    @property
    def pdf(self) -> bytes:
        return pdf(self.figure)


def figure_kinds() -> list[FigureKind]:
    """All kinds, by position."""
    folder = str(Path(__file__).parent)
    names = [module.name for module in pkgutil.iter_modules([folder], f"{__package__}.")]
    kinds = [getattr(importlib.import_module(name), "FIGURE", None) for name in names]
    return sorted((kind for kind in kinds if kind is not None), key=lambda kind: kind.position)


def draw_figures(inventory: Inventory, table: Table, photographs: bool) -> list[DrawnFigure]:
    """Those with something to draw; `photographs`: with the kinds that are made of images."""
    kinds = [kind for kind in figure_kinds() if photographs or not kind.photographs]
    drawn = ((kind, kind.draw(inventory, table)) for kind in kinds)
    return [DrawnFigure(kind, f"{inventory.recipe.name}_{kind.name}", figure) for kind, figure in drawn if figure]


def write_figures(inventory: Inventory, folder: Path) -> list[Path]:
    """Writes each figure as SVG, PNG and PDF, named after recipe and kind."""
    drawn = draw_figures(inventory, build_table(inventory), photographs=True)
    return [path for figure in drawn for path in write_figure(figure, folder)]


def write_figure(figure: DrawnFigure, folder: Path) -> list[Path]:
    """As SVG, PNG and PDF."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"svg": figure.svg.encode(), "png": figure.png, "pdf": figure.pdf}
    written = {folder / f"{figure.name}.{suffix}": part for suffix, part in content.items()}
    for path, part in written.items():
        write_whole(path, part)
    return list(written)
