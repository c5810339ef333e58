"""The finished runs in a folder, whoever made them: what they took, and whether they are a row's runs of before.

A run's folder has its key in its name, so that a run whose features or configuration have changed since is another
folder. What is left of it here is told: "stale: 3 runs were made with other features".

past = PastRuns(workspace.runs)
past.superseded(run)        # "other features"
"""

import json
from collections import defaultdict
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from feature_cache import differences
from probe.runs.directory import Run
from probe.validation import parse_yaml

INPUTS = {"features": "other features", "manifest": "another manifest", "images": "other image files"}
SHOWN = 3


class PastRuns:
    """Looks at the folder once; reads of a run what is asked for. A damaged run is passed over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written = cache(_written)
        self.environment = cache(_environment)

    @cached_property
    def by_name(self) -> dict[str, list[Path]]:
        """Finished runs by their name without the key, sorted."""
        found: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(self.folder.glob("[!.]*/metrics.json")):
            found[path.parent.name.rpartition("_")[0]].append(path.parent)
        return dict(found)

    @cached_property
    def _made_for(self) -> dict[tuple[str, int], list[Path]]:
        """Runs by the row that they were made for, and their seed."""
        found: dict[tuple[str, int], list[Path]] = defaultdict(list)
        for path in (path for paths in self.by_name.values() for path in paths):
            row = self.environment(path).get("made_for")
            seed = path.name.rpartition("_")[0].rpartition("_seed")[2]
            if row and seed.isdecimal():
                found[row, int(seed)].append(path)
        return dict(found)

    def superseded(self, run: Run) -> str | None:
        """What has changed since a run was made in place of this one, which is not done; None where there is none."""
        config = run.config.model_dump(mode="json")
        for path in self.by_name.get(run.name, []):  # also those of recipes on other data
            if self.environment(path).get("made_for") == run.made_for and self.written(path).get("config") == config:
                return changed_inputs(self.written(path).get("inputs", {}), run.inputs)
        for path in self._made_for.get((run.made_for, run.config.seed), []) if run.made_for else []:
            lines = differences(self.written(path).get("config", {}), config)
            if lines and path != run.path:
                more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
                return f"another configuration ({'; '.join(lines[:SHOWN])}{more})"
        return None


def changed_inputs(before: dict[str, str], now: dict[str, str]) -> str:
    """`other features`; where the inputs are the same, the code is another."""
    if not now:
        return "features or data that are not here any more"
    changed = (what for name, what in INPUTS.items() if before.get(name) != now.get(name))
    return next(changed, "an earlier version of probe")


def _written(path: Path) -> dict[str, Any]:
    """A finished run's config.yaml; empty where it cannot be read."""
    try:
        content = parse_yaml((path / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _environment(path: Path) -> dict[str, Any]:
    """A finished run's environment.json; empty where it cannot be read."""
    try:
        content = json.loads((path / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
