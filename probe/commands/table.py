"""`probe table`: the tables of recipes, measured and printed values side by side, and the commands for the rest.

probe table · table unifex_table5
"""

from pathlib import Path
from typing import Annotated

import typer

from probe.commands.options import DEFAULT, Cache, DataRoot, Datasets, Device, Out
from probe.device import DeviceChoice
from probe.workspace import Workspace


def table(
    recipes: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RECIPE", help="Recipes by name or file, or folders of them.", show_default="recipes"),
    ] = None,
    device: Device = DeviceChoice.auto,
    data_root: DataRoot = DEFAULT.data_root,
    datasets: Datasets = None,
    cache: Cache = DEFAULT.cache,
    out: Out = DEFAULT.out,
) -> None:
    """Print the table of every recipe: what is measured, what is stale, and the commands that get what is missing.

    A recipe that needs nothing from outside (bundled images, built-in backbone) is run from end to end. Of a folder of
    recipes, a table of which nothing is measured is one line; all are written to files.
    """
    from probe.planning.inputs import Shelf
    from probe.planning.inventory import Bench, complete
    from probe.planning.status import Status
    from probe.progress import say
    from probe.recipes.recipe import find_recipes, read_recipe
    from probe.report.render.files import FORMS, write_files
    from probe.report.render.overview import is_begun, show_overview
    from probe.report.render.terminal import show
    from probe.report.table import build_table
    from probe.terminal import printer

    workspace = Workspace(data_root, cache, out, datasets)
    named = recipes or [Path("recipes")]
    read = [read_recipe(path) for path in find_recipes(named)]
    by_folder = any(path.is_dir() for path in named)
    for recipe in read:
        if recipe.self_contained:
            complete(recipe, workspace, device)
    shelf, status, tables = Shelf(workspace), Status(workspace), []
    for recipe in read:
        bench = Bench(recipe, workspace, shelf)
        tables.append(status.of(build_table(bench), bench))
        write_files(tables[-1], workspace.tables)
        if is_begun(tables[-1]) or not by_folder:
            show(tables[-1], printer())
            printer().print()
    if by_folder:
        show_overview(tables, printer())
    name = read[0].name if len(read) == 1 else "NAME"
    say(f"written to {workspace.tables / name}.{{{','.join(FORMS)}}}")
