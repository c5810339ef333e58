"""`probe fit`: every row of a recipe with every seed, on cached features; or a head for a folder of images.

probe fit recipes/quickstart.yaml --row ArcFace --set loss.margin=0.4 --seeds 0-4
probe fit ~/photos
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from probe.commands.options import DEFAULT, Cache, Catalogue, DataRoot, Datasets, Device, Json, Out
from probe.device import DeviceChoice
from probe.workspace import Workspace


class LogChoice(StrEnum):
    """What `--log` takes."""

    tensorboard = "tensorboard"
    wandb = "wandb"
    mlflow = "mlflow"


def fit(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE|FOLDER", help="A recipe's name or YAML file, or a folder of images.")
    ],
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
    backbone: Annotated[
        str | None,
        typer.Option(help="Of a folder: as for `probe extract`.", show_default="descriptor, which needs no weights"),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Of a folder: the backbone's local checkpoint.")] = None,
    catalogue: Catalogue = None,
    json: Json = False,
    device: Device = DeviceChoice.auto,
    data_root: DataRoot = DEFAULT.data_root,
    datasets: Datasets = None,
    cache: Cache = DEFAULT.cache,
    out: Out = DEFAULT.out,
) -> None:
    """Fit every row of a recipe with every seed, on cached features, and score it on the test split.

    Of a FOLDER of images (FOLDER/CLASS/IMAGE): extract features, choose a head by the training classes, fit and score
    it. Finished runs are recognised by their content and skipped; an interrupted one goes on from its last epoch.
    """
    if recipe.expanduser().is_dir():
        of_recipes = {"set": settings, "seeds": seeds, "row": row, "jobs": jobs > 1, "log": log, "json": json}
        _require_none_of("of a recipe, and this is a folder", **of_recipes)
        _fit_folder(recipe, backbone, weights, catalogue, device, Workspace(data_root, cache, out, datasets))
        return
    found = _find_recipe(recipe)
    _require_none_of("of a folder, and this is a recipe", backbone=backbone, weights=weights, catalogue=catalogue)
    from probe.commands.answers import TablesAnswer, print_json, table_answer
    from probe.planning import Inventory, fit_recipe
    from probe.progress import say
    from probe.recipes import Overrides, read_recipe
    from probe.report import build_table, show
    from probe.runs import SweepError
    from probe.terminal import printer

    workspace = Workspace(data_root, cache, out, datasets)
    changed = read_recipe(found, Overrides.parse(settings or [], seeds, row or []))
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


def _find_recipe(named: Path) -> Path:
    """Raises UsageError for what is neither a recipe nor, as it seems, meant to be one."""
    from probe.data import IMAGE_SUFFIXES
    from probe.errors import UsageError
    from probe.recipes import find_recipe

    if named.suffix.lower() in IMAGE_SUFFIXES:
        raise UsageError(f"{named} is an image; name the folder that it lies in, or a recipe.")
    if named.suffix.lower() == ".tar":
        raise UsageError(f"{named} is a tar; name the folder that it lies in, or a recipe.")
    try:
        found = find_recipe(named)
    except UsageError as error:
        raise UsageError(f"there is no folder {named}, and {error}") from error
    if not found.exists() and found.suffix not in (".yaml", ".yml"):
        raise UsageError(f"there is neither a folder nor a recipe {named}; name a folder of images, or a YAML file.")
    return found


def _require_none_of(what: str, **options: object) -> None:
    from probe.errors import UsageError

    for name, value in options.items():
        if value:
            raise UsageError(f"--{name} is {what}; leave it out.")


def _fit_folder(
    folder: Path,
    backbone: str | None,
    weights: Path | None,
    catalogue: Path | None,
    device: DeviceChoice,
    workspace: Workspace,
) -> None:
    from probe.api import fit as fit_images
    from probe.progress import say

    run = fit_images(
        folder.expanduser(),
        backbone,
        weights=weights,
        catalogue=catalogue,
        device=device,
        data_root=workspace.data_root,
        cache=workspace.cache,
        out=workspace.out,
    )
    choice, head = run.scores.choice, run.config.head.kind
    what = f"{choice.chosen} ({choice.why})" if choice else head
    say(f"{what}, {run.scores.dim} dimensions, in {run.path}")
