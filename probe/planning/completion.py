"""Makes what a recipe lacks: extracts features, fits runs. What is done is skipped.

complete(recipe, workspace, "auto")              # a recipe that needs nothing from outside, from end to end
fit_recipe(Inventory(recipe, workspace), "auto")
"""

from collections.abc import Sequence

from probe.data import resolve_data
from probe.extract import Settings, extract_sources
from probe.planning.inventory import Inventory
from probe.recipes import Recipe
from probe.runs import SweepError, sweep
from probe.workspace import Workspace


def complete(recipe: Recipe, workspace: Workspace, device_choice: str) -> None:
    """Extracts and fits all that a recipe lacks."""
    manifest = resolve_data(recipe.data, workspace.data_root, datasets=workspace.datasets)
    for backbone in recipe.backbones:
        extract_sources([manifest], backbone, workspace, Settings(), device_choice)
    fit_recipe(Inventory(recipe, workspace), device_choice)


def fit_recipe(inventory: Inventory, device_choice: str, jobs: int = 1, loggers: Sequence[str] = ()) -> int:
    """Fits the missing runs, then those of rows that waited for specialists among them; returns how many were fitted.
    As `sweep`; raises SweepError too where the data are none for some rows, when the others are done."""
    waiting = list(inventory.waiting)
    fitted, failed = 0, None
    try:
        fitted = sweep(inventory.runs(), device_choice, jobs, loggers)
    except SweepError as error:
        failed = error
    if waiting:
        inventory.forget_runs()
        fitted += sweep(inventory.runs(waiting), device_choice, jobs, loggers)
    if failed:
        raise failed
    if inventory.unfit:
        raise SweepError(f"{' '.join(inventory.unfit_rows)} The other rows are done.")
    return fitted
