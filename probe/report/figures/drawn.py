"""The figures of a recipe, those of them that its runs and images give.

for drawn in figures(bench, table, photographs=False):
    drawn.name, drawn.svg, drawn.png
write_figures(bench, Path("out/figures"))       # quickstart_curves.svg, quickstart_curves.png, ...
"""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from probe.planning.inventory import Bench
from probe.report.figures import collage, curves, examples, heatmap, margin_map, parameters
from probe.report.figures.style import inline, png, svg
from probe.report.table import Table, build_table
from probe.storage import write_whole

LINES = {"parameters": parameters, "curves": curves, "heatmap": heatmap, "margins": margin_map}
PHOTOGRAPHS = {"examples": examples, "collage": collage}
TITLES = {
    "parameters": "mMP@5 against parameters",
    "heatmap": "Domains",
    "curves": "Learning curves",
    "margins": "Dynamic margins",
    "examples": "Retrieval examples",
    "collage": "Domains in pictures",
}


@dataclass(frozen=True)
class Drawn:
    """`name`: of the recipe and of the kind of figure, unique in a report."""

    kind: str
    name: str
    caption: str
    figure: Figure

    @property
    def title(self) -> str:
        return TITLES[self.kind]

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


def figures(bench: Bench, table: Table, photographs: bool) -> list[Drawn]:
    """Those that have something to show; `photographs`: with those that are made of the data's images."""
    kinds = LINES | (PHOTOGRAPHS if photographs else {})
    found = ((kind, module.CAPTION, module.draw(bench, table)) for kind, module in kinds.items())
    return [Drawn(kind, f"{bench.recipe.name}_{kind}", caption, figure) for kind, caption, figure in found if figure]


def write_figures(bench: Bench, folder: Path) -> list[Path]:
    """Writes each as SVG and PNG, named after recipe and figure."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for drawn in figures(bench, build_table(bench), photographs=True):
        for suffix, content in ((".svg", drawn.svg.encode()), (".png", drawn.png)):
            path = folder / f"{drawn.name}{suffix}"
            write_whole(path, content)
            written.append(path)
    return written
