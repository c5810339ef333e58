"""`probe figures`: the runs of recipes as figures.

probe figures recipes/quickstart.yaml         # out/figures/quickstart_curves.svg, .png, ...
"""

from probe.commands.options import DEFAULT, Cache, DataRoot, Datasets, Out, Recipes
from probe.commands.report import inventories
from probe.workspace import Workspace


def figures(
    recipes: Recipes = None,
    data_root: DataRoot = DEFAULT.data_root,
    datasets: Datasets = None,
    cache: Cache = DEFAULT.cache,
    out: Out = DEFAULT.out,
) -> None:
    """Draw the figures of finished runs, as SVG and PNG: learning curves, domains, parameters, margins, examples."""
    from probe.progress import say
    from probe.report import write_figures

    workspace = Workspace(data_root, cache, out, datasets)
    for inventory in inventories(recipes, workspace):
        written = write_figures(inventory, workspace.figures)
        say(f"{inventory.recipe.name}: {', '.join(path.name for path in written) or 'nothing to draw yet'}")
    say(f"in {workspace.figures}")
