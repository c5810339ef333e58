"""`probe table`: the tables of recipes, measured and printed values side by side, and the commands for the rest.

probe table · table unifex_table5
"""

from pathlib import Path
from typing import Annotated

import typer

from probe.commands.options import DEFAULT, Cache, DataRoot, Datasets, Device, Gpus, Json, MachineName, Out
from probe.device import DeviceChoice
from probe.workspace import Workspace


def table(
    recipes: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RECIPE", help="Recipes by name or file, or folders of them.", show_default="recipes"),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Print a line for each table of the papers too.")] = False,
    columns: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this column, a mean or a domain; repeatable.", show_default="all"),
    ] = None,
    json: Json = False,
    machine: MachineName = None,
    gpus: Gpus = 1,
    device: Device = DeviceChoice.auto,
    data_root: DataRoot = DEFAULT.data_root,
    datasets: Datasets = None,
    cache: Cache = DEFAULT.cache,
    out: Out = DEFAULT.out,
) -> None:
    """Print the table of every recipe: what is measured, what is stale, and the commands that get what is missing.

    A recipe that needs nothing from outside (bundled images, built-in backbone) is run from end to end. Of a folder of
    recipes, and with --all, a table of which nothing is measured is one line; all are written to files.
    """
    from probe.commands.answers import TablesAnswer, print_json, table_answer
    from probe.planning import Inputs, Inventory, Planner, complete
    from probe.progress import say
    from probe.recipes import find_recipes, read_recipe
    from probe.report import FORMATS, build_table, is_begun, show, show_overview, write_files
    from probe.terminal import print_text, printer

    workspace = Workspace(data_root, cache, out, datasets)
    read = [read_recipe(path) for path in find_recipes(recipes)]
    by_folder = not recipes or any(path.is_dir() for path in recipes)
    for recipe in read:
        if recipe.self_contained:
            complete(recipe, workspace, device)
    inputs, planner, tables = Inputs(workspace), Planner(workspace, machine), []
    for recipe in read:
        inventory = Inventory(recipe, workspace, inputs)
        table = build_table(inventory, planner.status(inventory))
        tables.append(table.with_columns(columns) if columns else table)
        write_files(tables[-1], workspace.tables)
        if not json and (is_begun(tables[-1]) or not by_folder):
            show(tables[-1], printer())
            printer().print()
    if json:
        print_json(TablesAnswer(tables=[table_answer(table) for table in tables]))
    elif by_folder and (recipes or every):
        show_overview(tables, planner.machine, gpus, printer())
    elif by_folder and (rest := sum(not is_begun(table) for table in tables)):
        print_text(f"{rest} more tables of the papers: `probe table --all`, or `probe plan`", printer())
    name = read[0].name if len(read) == 1 else "NAME"
    say(f"written to {workspace.tables / name}.{{{','.join(FORMATS)}}}")
