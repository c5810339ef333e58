"""`probe figures`: the runs of recipes as figures.

probe figures recipes/quickstart.yaml         # out/figures/quickstart_curves.svg, .png, .pdf, ...
probe figures recipes/quickstart.yaml --rows PCA-whitening ArcFace
"""

from typing import Annotated

import typer

from probe.commands.options import DEFAULT, Cache, DataRoot, Datasets, Out, Recipes
from probe.commands.report import inventories
from probe.workspace import Workspace


def figures(
    recipes: Recipes = None,
    rows: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="ROW ROW", help="Draw alone what these two rows of one recipe retrieve, side by side."),
    ] = None,
    data_root: DataRoot = DEFAULT.data_root,
    datasets: Datasets = None,
    cache: Cache = DEFAULT.cache,
    out: Out = DEFAULT.out,
) -> None:
    """Draw the figures of finished runs, as SVG, PNG and PDF: learning curves, domains, margins, examples."""
    from probe.errors import UsageError, require_installed

    require_installed("matplotlib", "report", "probe figures")
    from probe.progress import say
    from probe.report import write_comparison, write_figures

    workspace = Workspace(data_root, cache, out, datasets)
    found = inventories(recipes, workspace)
    if rows and len(found) > 1:
        raise UsageError(f"--rows are those of one recipe, and there are {len(found)}; name it before them.")
    for inventory in found:
        folder = workspace.figures
        written = write_comparison(inventory, rows, folder) if rows else write_figures(inventory, folder)
        say(f"{inventory.recipe.name}: {', '.join(path.name for path in written) or 'nothing to draw yet'}")
    say(f"in {workspace.figures}")
