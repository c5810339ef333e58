"""What is left to do for many tables: each command once, in the order that completes most tables first.

An extraction that two tables want is one command for both, of the splits of both, whichever recipe its backbone is
written in; a run that two tables share takes its time once. A command comes after all that it needs.

    plan = make_plan([Inventory(recipe, workspace, inputs) for recipe in recipes], Planner(workspace))
    plan.steps[0].command, plan.steps[0].time, plan.steps[-1].completes
    plan.script                       # for bash: it goes on where it was stopped
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from probe.planning.duration import Estimate, side_by_side
from probe.planning.extraction import Extraction
from probe.planning.inventory import Inventory
from probe.planning.status import Planner


class Stage(StrEnum):
    """What a command does; those of one stage need only those of the stages before."""

    draw = "draw"
    extract = "extract"
    fit = "fit"


@dataclass(frozen=True)
class Step:
    """One command."""

    command: str
    stage: Stage
    tables: frozenset[str]
    """That need it."""
    time: Estimate | None = None
    """None where nothing is known, and for training sets that are drawn, which takes minutes."""
    bytes: int | None = None
    """Of the features that it stores; None where their number or length is not known."""
    completes: tuple[str, ...] = ()
    """Tables that lack nothing after it."""
    writes: str = ""
    """The backbone whose stores, or the table whose runs it writes, others beside its own among them; empty: what no
    other step writes."""


@dataclass(frozen=True)
class Plan:
    """In the order in which the steps are to be run."""

    steps: list[Step]
    missing: list[str]
    """Reasons for missing data, which no command gets."""
    tables: int
    """That are not complete."""

    def of_stage(self, stage: Stage) -> list[Step]:
        return [step for step in self.steps if step.stage == stage]

    def tasks(self, stage: Stage) -> list[list[Step]]:
        """What can be done side by side: steps one after the other that write the same stores or runs."""
        tasks: dict[str, list[Step]] = {}
        for step in self.of_stage(stage):
            tasks.setdefault(step.writes or step.command, []).append(step)
        return list(tasks.values())

    @property
    def bytes(self) -> int:
        """Of all features whose size is known."""
        return sum(step.bytes or 0 for step in self.steps)

    def seconds(self, devices: int = 1) -> float:
        """Of all steps whose time is known, as many tasks side by side as there are devices, stage after stage."""
        stages = ([sum(s.time.seconds for s in task if s.time) for task in self.tasks(stage)] for stage in Stage)
        return sum(side_by_side(times, devices) for times in stages)

    @property
    def unknown(self) -> int:
        """Steps of unknown time, drawing aside."""
        return sum(1 for step in self.steps if step.stage != Stage.draw and (step.time is None or step.time.unknown))


def make_plan(inventories: Sequence[Inventory], planner: Planner) -> Plan:
    """Of the tables that are not complete, and of those whose rows a table of claims compares."""
    named = {inventory.recipe.name: inventory for inventory in inventories}
    compared = {name: other for inventory in inventories for name, other in inventory.compared.items()}
    unfinished = {name: inventory for name, inventory in (named | compared | named).items() if inventory.commands}
    draws: dict[str, set[str]] = {}
    wanted: dict[tuple[str, str], tuple[Extraction, set[str], Inventory]] = {}
    fits: dict[str, Step] = {}
    for name, inventory in unfinished.items():
        for command in inventory.input_commands:
            if command not in inventory.extractions:
                draws.setdefault(command, set()).add(name)
        for extraction in inventory.extractions.values():
            for each in extraction.parts:
                key = each.whole.uncatalogued.command(inventory.workspace), repr(each.backbone.row)
                before, tables, known = wanted.get(key, (each, set(), inventory))
                known = inventory if each.data[0] in inventory.data else known
                wanted[key] = before.joined(each), tables | {name}, known
        if inventory.fit_command in inventory.commands:
            fits[name] = Step(inventory.fit_command, Stage.fit, frozenset({name}))
    steps = [Step(command, Stage.draw, frozenset(tables)) for command, tables in draws.items()]
    steps += [_extraction(extraction, tables, known, planner) for extraction, tables, known in wanted.values()]
    missing = dict.fromkeys(reason for inventory in unfinished.values() for reason in inventory.unmended)
    return Plan(_timed(_ordered(steps, fits), unfinished, planner), list(missing), len(unfinished))


def _extraction(extraction: Extraction, tables: Collection[str], inventory: Inventory, planner: Planner) -> Step:
    images = planner.images(extraction, inventory)
    dim = extraction.backbone.row.dim
    return Step(
        extraction.command(inventory.workspace),
        Stage.extract,
        frozenset(tables),
        planner.extraction_time(extraction, images),
        None if images is None or dim is None else images * dim * 2,
        writes=extraction.backbone.name,
    )


def _ordered(inputs: list[Step], fits: dict[str, Step]) -> list[Step]:
    """Inputs by how many tables they serve, the shorter first; each fit as soon as its inputs are there."""
    ordered: list[Step] = []
    lacking = {table: {step.command for step in inputs if table in step.tables} for table in fits}

    def ready() -> None:
        for table in [table for table, commands in lacking.items() if not commands]:
            ordered.append(replace(fits[table], completes=(table,)))
            del lacking[table]

    def rank(step: Step) -> tuple[bool, int, float]:
        return step.stage != Stage.draw, -len(step.tables), step.time.seconds if step.time else 0.0

    ready()
    for step in sorted(inputs, key=rank):
        ordered.append(step)
        for commands in lacking.values():
            commands.discard(step.command)
        ready()
    return ordered


def _timed(steps: list[Step], inventories: Mapping[str, Inventory], planner: Planner) -> list[Step]:
    """With the times of the fits, each of the runs that no fit before it makes."""
    tables = [next(iter(step.tables)) for step in steps if step.stage == Stage.fit]
    planned = {table: planner.planned_runs(inventories[table]) for table in tables}
    first, timed, before = _first_sharing(planned), [], set[str]()
    for step in steps:
        if step.stage == Stage.fit:
            (table,) = step.tables
            time = planner.fit_time([run for key, run in planned[table].items() if key not in before])
            step = replace(step, time=time, writes=first[table])
            before |= planned[table].keys()
        timed.append(step)
    return timed


def _first_sharing(runs: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Table -> the first of the tables with which it shares runs, or runs with one that does. `runs`: by table."""
    first, made_by, order = {table: table for table in runs}, dict[str, str](), list(runs)
    for table, keys in runs.items():
        for other in {made_by.setdefault(key, table) for key in keys}:
            into, joined = sorted((first[table], first[other]), key=order.index)
            first = {each: into if name == joined else name for each, name in first.items()}
    return first
