"""`probe report`: the runs of recipes as one HTML page.

probe report recipes/quickstart.yaml          # out/report.html
"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probe.commands.options import DEFAULT, Cache, DataRoot, Datasets, Out, Recipes
from probe.workspace import Workspace

if TYPE_CHECKING:
    from probe.planning import Inventory


class Thumbnails(StrEnum):
    """What `--thumbnails` takes."""

    embed = "embed"
    beside = "beside"


def report(
    recipes: Recipes = None,
    queries: Annotated[int, typer.Option(min=1, help="At most so many of each data set are in the gallery.")] = 1000,
    thumbnails: Annotated[
        Thumbnails, typer.Option(help="In the page, or in a folder beside it that has to travel with it.")
    ] = Thumbnails.embed,
    data_root: DataRoot = DEFAULT.data_root,
    datasets: Datasets = None,
    cache: Cache = DEFAULT.cache,
    out: Out = DEFAULT.out,
) -> None:
    """Write one HTML page of finished runs: tables to sort, figures, configurations, and a gallery of queries.

    It works from the disk and asks nothing of the network. Nothing is fitted: what is missing is said.
    """
    from probe.errors import require_installed

    require_installed("matplotlib", "report", "probe report")
    from probe.progress import say
    from probe.report import write_report

    workspace = Workspace(data_root, cache, out, datasets)
    written = write_report(
        inventories(recipes, workspace), workspace.report, queries, beside=thumbnails is Thumbnails.beside
    )
    size = written.path.stat().st_size / 1e6
    say(f"{written.queries:,} queries and {written.thumbnails:,} pictures in the gallery, {written.absent:,} absent")
    say(f"written to {written.path} ({size:.1f} MB): open it in a browser")


def inventories(recipes: list[Path] | None, workspace: Workspace) -> "list[Inventory]":
    from probe.planning import Inputs, Inventory
    from probe.recipes import find_recipes, read_recipe

    read = [read_recipe(path) for path in find_recipes(recipes)]
    inputs = Inputs(workspace)
    return [Inventory(recipe, workspace, inputs) for recipe in read]
