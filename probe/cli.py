"""The command line: parse, call, print. Heavy libraries are loaded by the commands that need them, when they do.

probe backbones · extract DATA --backbone NAME · fit RECIPE · evaluate WHAT · compare · table · report · figures
probe data list · cache list
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from probe.commands.cache import app as cache_commands
from probe.commands.compare import ManyAgainst, compare
from probe.commands.data import app as data_commands
from probe.commands.evaluate import evaluate
from probe.commands.options import DEFAULT, Cache, DataRoot, Device, Out, Split, StoredAs, View
from probe.commands.report import figures, report
from probe.device import DeviceChoice
from probe.precision import PrecisionChoice
from probe.workspace import Workspace

# Threads that wait spin some microseconds, then sleep. A training step waits hundreds of times for less than that:
# sleeping at once (OMP_WAIT_POLICY=PASSIVE) makes it twice as slow, and spinning on costs others on a shared machine.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")


class Commands(TyperGroup):
    """Turns errors into one sentence and an exit code; accepts --debug anywhere on the line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta["debug"] = "--debug" in args
        return super().parse_args(ctx, [word for word in args if word != "--debug"])

    def invoke(self, ctx: Any) -> Any:
        from feature_cache import StoreError
        from probe.errors import ProbeError

        try:
            return super().invoke(ctx)
        except (ProbeError, StoreError) as error:
            if ctx.meta["debug"]:
                raise
            typer.secho(f"error: {error}", fg="red", err=True)
            raise typer.Exit(getattr(error, "exit_code", 1)) from error
        except KeyboardInterrupt as error:
            typer.secho("interrupted: what is finished is kept; the same command goes on from there.", err=True)
            raise typer.Exit(130) from error


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Linear probing over cached frozen features, for universal image retrieval.",
    epilog="Every command takes --debug, which shows the traceback of an error.",
)
app.add_typer(data_commands, name="data")
app.add_typer(cache_commands, name="cache")


@app.command(epilog="Example: probe extract ~/photos --backbone timm:resnet50 --weights resnet50.safetensors")
def extract(
    data: Annotated[
        list[str],
        typer.Argument(metavar="DATA", help="Folders, manifest files, names below --data-root, or `sample`."),
    ],
    backbone: Annotated[str, typer.Option(help="A name that `probe backbones` lists, or timm:NAME and the like.")],
    weights: Annotated[
        Path | None, typer.Option(help="A local checkpoint (.safetensors, or .pt) instead of the hub's.")
    ] = None,
    catalogue: Annotated[
        Path | None, typer.Option(help="A YAML file with a `backbones:` section of your own.", exists=True)
    ] = None,
    source_root: Annotated[
        list[str] | None, typer.Option(help="SOURCE=FOLDER: where a source's images lie; repeatable.")
    ] = None,
    views: Annotated[
        list[View] | None,
        typer.Option(help="UniFEx's preprocessing: train crops, test squashes. Stored as NAME@VIEW; repeatable."),
    ] = None,
    split: Annotated[
        list[Split] | None, typer.Option(help="Only images of this split; repeatable.", show_default="all")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first N images of each source; the store says what it lacks.")
    ] = None,
    precision: Annotated[
        PrecisionChoice | None,
        typer.Option(
            help="Of the forward pass; auto takes what suits the device.", show_default="the store's, or fp32"
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images in a forward pass.")] = 64,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Decoding processes; 0 decodes in the main one.", show_default="by CPUs and device"),
    ] = None,
    part: Annotated[int, typer.Option(min=1, help="Images that a crash can cost at most, in whole batches.")] = 1024,
    dtype: Annotated[StoredAs, typer.Option(help="How features are stored.")] = StoredAs.float16,
    max_failures: Annotated[
        float, typer.Option(min=0, max=1, help="Share of undecodable images at which to stop.")
    ] = 0.01,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try undecodable images again.")] = False,
    device: Device = DeviceChoice.auto,
    data_root: DataRoot = DEFAULT.data_root,
    cache: Cache = DEFAULT.cache,
    out: Out = DEFAULT.out,
) -> None:
    """Put a frozen backbone's features of all images of DATA, or of some splits, into the feature store.

    Each image is seen once: what is stored already is skipped, and an interrupted extraction goes on where it stopped.
    """
    from probe.backbones.catalogue import find_backbone
    from probe.data.resolve import resolve_data, source_roots
    from probe.extract.plan import Settings
    from probe.extract.session import extract_sources

    splits = tuple(dict.fromkeys(each.value for each in split)) if split else None
    settings = Settings(batch, workers, part, dtype.value, max_failures, retry_failed, splits, limit)
    roots = source_roots(source_root or [])
    manifests = [resolve_data(name, data_root, roots) for name in data]
    names = [f"{backbone}@{view}" for view in views] if views else [backbone]
    for chosen in [find_backbone(name, catalogue, weights) for name in names]:
        extract_sources(manifests, chosen, Workspace(data_root, cache, out), settings, device, precision)


@app.command(epilog="Example: probe backbones siglip-so400m-14-384")
def backbones(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A name of the catalogue, or timm:NAME and the like.")
    ] = None,
    catalogue: Annotated[
        Path | None, typer.Option(help="A YAML file with a `backbones:` section of your own.", exists=True)
    ] = None,
) -> None:
    """List the backbones that there are, or tell everything of one: preprocessing, feature, where its weights are."""
    from rich.console import Console

    from probe.backbones.catalogue import all_backbones, find_backbone
    from probe.backbones.listing import print_backbone, print_catalogue

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    if name is None:
        print_catalogue(all_backbones(catalogue), console)
    else:
        print_backbone(find_backbone(name, catalogue), console)


@app.command(epilog="Example: probe fit recipes/quickstart.yaml --row ArcFace --set loss.margin=0.4 --seeds 0-4")
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
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write each run's history as TensorBoard events too.")
    ] = False,
    device: Device = DeviceChoice.auto,
    data_root: DataRoot = DEFAULT.data_root,
    cache: Cache = DEFAULT.cache,
    out: Out = DEFAULT.out,
) -> None:
    """Fit every row of a recipe with every seed, on cached features, and score it on the test split.

    Finished runs are recognised by their content and skipped; an interrupted one goes on from its last epoch.
    """
    from probe.planning import Inventory, fit_recipe
    from probe.progress import say
    from probe.recipes import Overrides, find_recipe, read_recipe
    from probe.report import build_table, show
    from probe.runs.sweep import SweepError
    from probe.terminal import printer

    workspace = Workspace(data_root, cache, out)
    changed = read_recipe(find_recipe(recipe), Overrides.parse(settings or [], seeds, row or []))
    inventory = Inventory(changed, workspace)
    inventory.require_complete()
    try:
        fitted = fit_recipe(inventory, device, jobs, tensorboard)
    except SweepError:
        show(build_table(Inventory(changed, workspace)), printer())
        raise
    runs = {run.path for run, _ in inventory.runs()}
    say(f"{fitted} run(s) fitted, {len(runs) - fitted} already done, in {workspace.runs}")
    show(build_table(inventory), printer())
    if settings:
        say("these runs are of the recipe as changed by --set; `probe table` shows the recipe as it is written")


app.command(epilog="Example: probe evaluate out/runs/descriptor_linear_arcface_seed0_* --data sample --split val")(
    evaluate
)


app.command(
    cls=ManyAgainst,
    epilog="Example: probe compare out/runs/*_linear_arcface_seed* --against out/runs/*_pca-whitening_*",
)(compare)


@app.command(epilog="Example: probe table unifex_table5")
def table(
    recipes: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RECIPE", help="Recipes by name or file, or folders of them.", show_default="recipes"),
    ] = None,
    device: Device = DeviceChoice.auto,
    data_root: DataRoot = DEFAULT.data_root,
    cache: Cache = DEFAULT.cache,
    out: Out = DEFAULT.out,
) -> None:
    """Print the table of every recipe: what is measured, what is stale, and the commands that get what is missing.

    A recipe that needs nothing from outside (bundled images, built-in backbone) is run from end to end. Of a folder of
    recipes, a table of which nothing is measured is one line; all are written to files.
    """
    from probe.planning import Inputs, Inventory, Planner, complete
    from probe.progress import say
    from probe.recipes import find_recipes, read_recipe
    from probe.report import FORMATS, build_table, is_begun, show, show_overview, write_files
    from probe.terminal import printer

    workspace = Workspace(data_root, cache, out)
    named = recipes or [Path("recipes")]
    read = [read_recipe(path) for path in find_recipes(named)]
    by_folder = any(path.is_dir() for path in named)
    for recipe in read:
        if recipe.self_contained:
            complete(recipe, workspace, device)
    inputs, planner, tables = Inputs(workspace), Planner(workspace), []
    for recipe in read:
        inventory = Inventory(recipe, workspace, inputs)
        tables.append(build_table(inventory, planner.status(inventory)))
        write_files(tables[-1], workspace.tables)
        if is_begun(tables[-1]) or not by_folder:
            show(tables[-1], printer())
            printer().print()
    if by_folder:
        show_overview(tables, printer())
    name = read[0].name if len(read) == 1 else "NAME"
    say(f"written to {workspace.tables / name}.{{{','.join(FORMATS)}}}")


app.command(epilog="Example: probe report recipes/quickstart.yaml")(report)
app.command(epilog="Example: probe figures recipes/quickstart.yaml")(figures)


def main() -> None:
    """Entry point of `probe`."""
    try:
        app()
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        typer.secho(
            f"error: {error or type(error).__name__}; run again with --debug for the traceback.",
            fg="red",
            err=True,
        )
        sys.exit(1)
