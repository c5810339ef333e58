"""Planning: what a recipe has on this machine, what is missing or stale, and the commands and times to complete it.

Nothing here is measured or drawn; `complete` and `fit_recipe` make what is missing.

    inventory = Inventory(recipe, workspace)
    Planner(workspace).status(inventory).stale
"""

from probe.planning.completion import complete, fit_recipe
from probe.planning.duration import UNKNOWN, Estimate, Estimator, rounded
from probe.planning.extraction import Extraction
from probe.planning.inputs import Inputs
from probe.planning.inventory import Inventory
from probe.planning.next_steps import next_steps
from probe.planning.status import Planner, Status

__all__ = [
    "UNKNOWN",
    "Estimate",
    "Estimator",
    "Extraction",
    "Inputs",
    "Inventory",
    "Planner",
    "Status",
    "complete",
    "fit_recipe",
    "next_steps",
    "rounded",
]
