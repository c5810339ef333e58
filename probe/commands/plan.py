"""`probe plan`: what is left to run for many tables, each command once, as a list or as a script.

probe plan unifex_table5 uned_table4 --machine h100 --gpus 8
"""

import sys
from typing import Annotated

import typer

from probe.commands.options import DEFAULT, Cache, DataRoot, Datasets, Gpus, Json, MachineName, Out, Recipes
from probe.workspace import Workspace


def plan(
    recipes: Recipes = None,
    machine: MachineName = None,
    gpus: Gpus = 1,
    sh: Annotated[bool, typer.Option("--sh", help="Print it as a script for bash.")] = False,
    slurm: Annotated[bool, typer.Option("--slurm", help="Print it as a script that submits arrays to SLURM.")] = False,
    json: Json = False,
    data_root: DataRoot = DEFAULT.data_root,
    datasets: Datasets = None,
    cache: Cache = DEFAULT.cache,
    out: Out = DEFAULT.out,
) -> None:
    """Print what is left to run for all tables: each command once, those that serve most tables first.

    Each has its time, the size of the features that it stores, and the tables that it completes. The scripts go on
    where they were stopped.
    """
    from probe.commands.answers import plan_answer, print_json
    from probe.errors import UsageError
    from probe.planning import Inputs, Inventory, Planner, make_plan, shell_script, slurm_script
    from probe.progress import say
    from probe.recipes import find_recipes, read_recipe
    from probe.report import show_plan
    from probe.terminal import printer

    if sh + slurm + json > 1:
        raise UsageError("--sh, --slurm and --json are three forms; ask for one.")
    if sh and gpus > 1:
        raise UsageError("--sh runs one command after the other; --slurm runs as many at once as there are --gpus.")
    workspace = Workspace(data_root, cache, out, datasets)
    inputs, planner = Inputs(workspace), Planner(workspace, machine)
    read = [read_recipe(path) for path in find_recipes(recipes)]
    found = make_plan([Inventory(recipe, workspace, inputs) for recipe in read], planner)
    made_by = " ".join(["probe", *sys.argv[1:]])
    for reason in found.missing if sh or slurm else ():
        say(reason)
    if sh:
        typer.echo(shell_script(found, made_by), nl=False)
    elif slurm:
        typer.echo(slurm_script(found, made_by, gpus, planner.machine.device == "cuda"), nl=False)
    elif json:
        print_json(plan_answer(found, planner.machine.name))
    else:
        show_plan(found, planner.machine, gpus, printer())
