"""`probe fit`: every row of a recipe with every seed, on cached features.

probe fit recipes/quickstart.yaml --row ArcFace --set loss.margin=0.4 --seeds 0-4
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from probe.commands.options import DEFAULT, Cache, DataRoot, Datasets, Device, Json, Out
from probe.device import DeviceChoice
from probe.workspace import Workspace


class LogChoice(StrEnum):
    """What `--log` takes."""

    tensorboard = "tensorboard"
    wandb = "wandb"
    mlflow = "mlflow"


def fit(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe's name or YAML file.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change the recipe's defaults; repeatable."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="SEEDS", help="Instead of the recipe's default seeds: 0-4, or 0,2,5.")
    ] = None,
    row: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this row; repeatable.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs side by side, each with its own copy of the features.")] = 1,
    log: Annotated[
        list[LogChoice] | None,
        typer.Option(help="Write each run's history for this viewer too, while it is fitted; repeatable."),
    ] = None,
    json: Json = False,
    device: Device = DeviceChoice.auto,
    data_root: DataRoot = DEFAULT.data_root,
    datasets: Datasets = None,
    cache: Cache = DEFAULT.cache,
    out: Out = DEFAULT.out,
) -> None:
    """Fit every row of a recipe with every seed, on cached features, and score it on the test split.

    Finished runs are recognised by their content and skipped; an interrupted one goes on from its last epoch.
    """
    from probe.commands.answers import TablesAnswer, print_json, table_answer
    from probe.planning import Inventory, fit_recipe
    from probe.progress import say
    from probe.recipes import Overrides, find_recipe, read_recipe
    from probe.report import build_table, show
    from probe.runs import SweepError
    from probe.terminal import printer

    workspace = Workspace(data_root, cache, out, datasets)
    changed = read_recipe(find_recipe(recipe), Overrides.parse(settings or [], seeds, row or []))
    inventory = Inventory(changed, workspace)
    inventory.require_complete()
    try:
        fitted = fit_recipe(inventory, device, jobs, [each.value for each in log or ()])
    except SweepError:
        show(build_table(Inventory(changed, workspace)), printer())
        raise
    runs = {run.path for run, _ in inventory.runs()}
    say(f"{fitted} run(s) fitted, {len(runs) - fitted} already done, in {workspace.runs}")
    if json:
        print_json(TablesAnswer(tables=[table_answer(build_table(inventory))]))
    else:
        show(build_table(inventory), printer())
    if settings:
        say("these runs are of the recipe as changed by --set; `probe table` shows the recipe as it is written")
