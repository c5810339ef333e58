"""The finished runs in a folder, by what they are made of: their configurations are read, never their names.

index = RunIndex(workspace.runs)
index.superseded(run)                 # "with other features": how a run in place of this one was made
index.of_manifest(manifest.digest)    # finished runs on these data
index.damaged                         # {path: "... cannot be read ..."}
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from feature_cache import differences
from probe.errors import UsageError
from probe.runs.code import changed_code
from probe.runs.directory import RunDirectory
from probe.runs.run import Run

INPUTS = {"features": "with other features", "manifest": "with another manifest", "images": "with other image files"}
NAMED = 3  # differences in a message

Group = TypeVar("Group", bound=Hashable)


class RunIndex:
    """Looks at the folder once, and reads each run's configuration and environment once, when it is first asked.

    A directory that cannot be read is passed over; `damaged` has the reason.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: dict[Path, str] = {}

    @cached_property
    def runs(self) -> list[RunDirectory]:
        """Sorted by path."""
        return [run for path in sorted(self.folder.glob("[!.]*/")) if (run := self._read(path))]

    def _read(self, path: Path) -> RunDirectory | None:
        run = RunDirectory(path)
        try:
            return run if run.done and run.config and run.environment else None
        except UsageError as error:
            self.damaged[path] = str(error)
            return None

    def of_manifest(self, digest: str | None) -> list[RunDirectory]:
        """Runs on these data; none where their digest is not known."""
        return self._by_manifest.get(digest, []) if digest else []

    def made_for(self, row: str, seed: int, domain: str | None = None) -> list[RunDirectory]:
        """Runs that were made for a row, written `recipe: row`, with this seed, and of specialists for this domain."""
        return self._by_row.get((row, seed, domain), [])

    def superseded(self, run: Run) -> str | None:
        """How a run was made that was there in place of this one, which is not done; None where there is none."""
        config = run.config.model_dump(mode="json")
        others = None
        for found in self.made_for(run.made_for, run.config.seed, run.config.domain):
            if found.key == run.key:
                continue
            lines = differences(found.config.model_dump(mode="json"), config)
            if not lines:
                return _changed(found, run)
            others = others or _listed(lines)
        return f"with another configuration ({others})" if others and run.made_for else None

    @cached_property
    def _by_manifest(self) -> dict[str, list[RunDirectory]]:
        return _grouped((run.inputs.get("manifest", ""), run) for run in self.runs)

    @cached_property
    def _by_row(self) -> dict[tuple[str, int, str | None], list[RunDirectory]]:
        return _grouped(((run.environment.made_for, run.config.seed, run.config.domain), run) for run in self.runs)


def _changed(before: RunDirectory, now: Run) -> str:
    """`with other features`, `by an earlier version of losses/arcface.py`."""
    if not now.inputs:
        return "with features or data that are not here any more"
    for name, what in INPUTS.items():
        if before.inputs.get(name) != now.inputs.get(name):
            return what
    return f"by an earlier version of {changed_code(before.code, now.code) or 'probe'}"


def _listed(lines: list[str]) -> str:
    more = f" and {len(lines) - NAMED} more" if len(lines) > NAMED else ""
    return "; ".join(lines[:NAMED]) + more


def _grouped(pairs: Iterable[tuple[Group, RunDirectory]]) -> dict[Group, list[RunDirectory]]:
    groups: dict[Group, list[RunDirectory]] = defaultdict(list)
    for group, run in pairs:
        groups[group].append(run)
    return dict(groups)
