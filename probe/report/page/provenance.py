"""What stands behind a number: each run's configuration, inputs and environment, as its directory has them.

for entry in provenance(bench, "recipe-1"):
    entry.title, entry.files["config.yaml"]
"""

from dataclasses import dataclass

from probe.fit import TrainedConfig
from probe.planning.inventory import Bench
from probe.runs.run import Run


@dataclass(frozen=True)
class Entry:
    """`facts`: name -> text, of the run as a whole; `files`: name -> content; both empty where it is not finished."""

    row: str
    anchor: str
    title: str
    done: bool
    facts: dict[str, str]
    files: dict[str, str]


def provenance(bench: Bench, anchor: str) -> list[Entry]:
    """One entry a run, finished or not; `anchor`: what theirs begin with."""
    runs = [(row.name, run) for row in bench.recipe.rows for run in bench.runs_of[row.name]]
    return [
        Entry(row, f"{anchor}-run-{number}", _title(row, run), run.done, _facts(run), run.directory.texts)
        for number, (row, run) in enumerate(runs, start=1)
    ]


def _title(row: str, run: Run) -> str:
    domain = f", {run.config.domain}" if run.config.domain else ""
    return f"{row}, seed {run.config.seed}{domain}"


def _facts(run: Run) -> dict[str, str]:
    if not run.done:
        return {}
    epochs = len(run.directory.history) if isinstance(run.config, TrainedConfig) else 0
    selected = run.scores.selected_epoch
    facts = {"key": run.key, "folder": str(run.path)}
    facts |= {"selected epoch": f"{selected} of {epochs}"} if selected and epochs else {}
    return facts | {f"input: {name}": value for name, value in run.inputs.items()}
