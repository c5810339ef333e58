"""Planning: what a recipe has on this machine, what is missing or stale, and the commands and times to complete it.

Nothing here is measured or drawn; `complete` and `fit_recipe` make what is missing.

    inventory = Inventory(recipe, workspace)
    Planner(workspace).status(inventory).stale
"""

from probe.planning.completion import complete, fit_recipe
from probe.planning.duration import UNKNOWN, Estimate, Estimator, rounded, side_by_side
from probe.planning.extraction import Extraction
from probe.planning.inputs import Inputs
from probe.planning.inventory import Inventory
from probe.planning.machine import Machine
from probe.planning.near_duplicates import NearDuplicateFinder
from probe.planning.next_steps import next_steps
from probe.planning.plan import Plan, Stage, Step, make_plan
from probe.planning.script import shell_script, slurm_script, told
from probe.planning.status import Planner, Status

__all__ = [
    "UNKNOWN",
    "Estimate",
    "Estimator",
    "Extraction",
    "Inputs",
    "Inventory",
    "Machine",
    "NearDuplicateFinder",
    "Plan",
    "Planner",
    "Stage",
    "Status",
    "Step",
    "complete",
    "fit_recipe",
    "make_plan",
    "next_steps",
    "rounded",
    "shell_script",
    "side_by_side",
    "slurm_script",
    "told",
]
