"""The provenance of a number: each run's configuration, inputs and environment, as its directory has them.

for record in provenance(inventory, "recipe-1"):
    record.title, record.files["config.yaml"]
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from probe.fit import TrainedConfig
from probe.planning import Inventory
from probe.runs import Run


@dataclass(frozen=True)
class RunRecord:
    """Of one run, finished or not."""

    row: str
    anchor: str
    title: str
    done: bool
    facts: dict[str, str]
    """By name: key, folder, selected epoch, inputs. Empty where the run is not finished."""
    files: dict[str, str]
    """Content by name. Empty where the run is not finished."""
    finished: str | None = None
    """The day, `2026-11-28`, in UTC."""


def provenance(inventory: Inventory, anchor: str) -> list[RunRecord]:
    """One record a run; `anchor`: the prefix of theirs."""
    runs = [(row.name, run) for row in inventory.recipe.rows for run in inventory.runs_of[row.name]]
    return [
        RunRecord(
            row=row,
            anchor=f"{anchor}-run-{number}",
            title=_title(row, run),
            done=run.done,
            facts=_facts(run) if run.done else {},
            files=run.directory.texts if run.done else {},
            finished=_day(run) if run.done else None,
        )
        for number, (row, run) in enumerate(runs, start=1)
    ]


def _day(run: Run) -> str:
    return datetime.fromtimestamp(run.path.stat().st_mtime, UTC).date().isoformat()


def _title(row: str, run: Run) -> str:
    domain = f", {run.config.domain}" if run.config.domain else ""
    return f"{row}, seed {run.config.seed}{domain}"


def _facts(run: Run) -> dict[str, str]:
    epochs = len(run.directory.history) if isinstance(run.config, TrainedConfig) else 0
    selected = run.scores.selected_epoch
    facts = {"key": run.key, "folder": str(run.path)}
    facts |= {"selected epoch": f"{selected} of {epochs}"} if selected and epochs else {}
    if run.scores.training_did_not_help:
        facts["training"] = "no epoch is better on validation than the head before it"
    return facts | {f"input: {name}": value for name, value in run.inputs.items()}


def _files(run: Run) -> dict[str, str]:
    return run.directory.texts if run.done else {}
