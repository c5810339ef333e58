"""The status of a recipe on this machine: which of its runs are stale, and how long what is missing takes.

Planner(workspace).status(inventory).stale     # ["stale: 3 run(s) of ArcFace were made with other features"]
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial

import polars as pl

from feature_cache import FeatureStore, StoreError
from probe.data import SPLITS, Manifest, draw_validation
from probe.extract import read_speeds
from probe.planning.duration import USUAL_DIM, Estimate, Estimator, PlannedRun
from probe.planning.extraction import Extraction
from probe.planning.inputs import ValidationRule
from probe.planning.inventory import Inventory
from probe.planning.machine import find_machine, this_machine
from probe.planning.size import DataSize, images_of, printed_size, size_of_manifest
from probe.recipes import Row
from probe.runs import Run, RunIndex
from probe.workspace import Workspace


@dataclass(frozen=True)
class Status:
    """Empty for a recipe whose runs are all done."""

    stale: list[str] = field(default_factory=list)
    """A sentence for each reason why finished runs are not the recipe's any more."""
    times: dict[str, Estimate | None] = field(default_factory=dict)
    """By command of the inventory; None where nothing is known."""


class Planner:
    """Tells the status of all recipes of a command; looks at runs, and counts data, once."""

    def __init__(self, workspace: Workspace, machine: str | None = None) -> None:
        """`machine`: of the times, one of MACHINES; by default this one."""
        self._runs = RunIndex(workspace.runs)
        self.machine = find_machine(machine) if machine else this_machine()
        self._estimator = Estimator(self._runs, read_speeds(workspace.cache), self.machine)
        self._printed_size = cache(partial(printed_size, datasets=workspace.datasets))
        self._sizes: dict[int, tuple[Manifest, DataSize]] = {}
        self._images: dict[
            tuple[int, tuple[str, ...], ValidationRule | None], tuple[Manifest, dict[str, pl.DataFrame]]
        ] = {}

    def status(self, inventory: Inventory) -> Status:
        """What is stale, and the time of each command."""
        unfinished = self._unfinished(inventory)
        if not unfinished:
            return Status()
        times = {
            command: self.extraction_time(extraction, self.images(extraction, inventory))
            for command, extraction in inventory.extractions.items()
        }
        if inventory.fit_command in inventory.commands:
            times[inventory.fit_command] = self.fit_time(list(self.planned_runs(inventory).values()))
        return Status(self._stale(unfinished), times)

    def planned_runs(self, inventory: Inventory) -> dict[str, PlannedRun]:
        """Its runs that are not done, by what is equal for those that it shares with other recipes."""
        return {
            f"{inventory.recipe.data}, {row.features_key}, {run.key}": self._planned(row, run, inventory)
            for row, run in self._unfinished(inventory)
        }

    def fit_time(self, planned: Sequence[PlannedRun]) -> Estimate | None:
        """One after the other; None where nothing is known of any."""
        return self._estimator.runs(planned)

    def _unfinished(self, inventory: Inventory) -> list[tuple[Row, Run]]:
        return [(row, run) for row in inventory.recipe.rows for run in self._unfinished_of(row, inventory)]

    def _unfinished_of(self, row: Row, inventory: Inventory) -> Iterator[Run]:
        """The row's runs that are not done; without the identity of their features where these are missing."""
        if runs := inventory.runs_of[row.name]:
            yield from (run for run in runs if not run.done)
        elif row.runs and row.name not in inventory.unfit:
            size = self._size(row, inventory)
            for config in row.configs(list(size.train) if size else [], None):
                yield inventory.run(row, config, {})

    def _stale(self, unfinished: list[tuple[Row, Run]]) -> list[str]:
        rows_by_reason: dict[str, list[str]] = {}
        for row, run in unfinished:
            if reason := self._runs.superseded(run):
                rows_by_reason.setdefault(reason, []).append(row.name)
        return [
            f"stale: {len(rows)} run(s) of {', '.join(dict.fromkeys(rows))} were made {reason}"
            for reason, rows in rows_by_reason.items()
        ]

    def _planned(self, row: Row, run: Run, inventory: Inventory) -> PlannedRun:
        features = inventory.features_of(row)
        of_test = row.selection.stores("test")
        dims = [backbone.row.dim or USUAL_DIM for backbone in row.backbones if backbone.name in of_test]
        dim = features.dim if features else sum(dims)
        return PlannedRun(run, dim, self._size(row, inventory))

    def images(self, extraction: Extraction, inventory: Inventory) -> int | None:
        """How many its stores lack; None where the data is neither here nor has printed counts."""
        images, splits, rule = 0, extraction.splits or SPLITS, extraction.rule
        for name in extraction.data:
            if name in inventory.data:
                found = self._images_of(inventory.data[name], splits, rule)
                images += _count_missing(found, extraction.backbone.name, inventory.workspace)
            elif size := self._printed_size(name):
                images += round(rule.share * size.images(["train"])) if rule else size.images(splits)
            else:
                return None
        return images

    def extraction_time(self, extraction: Extraction, images: int | None) -> Estimate | None:
        """Of so many images; None where their number is not known, or nothing else is."""
        return None if images is None else self._estimator.extraction(extraction.backbone, images)

    def _size(self, row: Row, inventory: Inventory) -> DataSize | None:
        """Of the data that the row is trained and scored on."""
        if features := inventory.features_of(row):
            return self._manifest_size(features.manifest)
        own = self._manifest_size(inventory.manifest) if inventory.manifest else None
        own = own or self._printed_size(inventory.recipe.data)
        if row.train is None or own is None:
            return own
        drawn = inventory.data.get(row.train)
        training = self._manifest_size(drawn) if drawn else self._printed_size(row.train)
        return None if training is None else replace(own, train=training.train)

    def _manifest_size(self, manifest: Manifest) -> DataSize:
        if id(manifest) not in self._sizes:
            self._sizes[id(manifest)] = manifest, size_of_manifest(manifest)
        return self._sizes[id(manifest)][1]

    def _images_of(
        self, manifest: Manifest, splits: tuple[str, ...], rule: ValidationRule | None
    ) -> dict[str, pl.DataFrame]:
        key = id(manifest), splits, rule
        if key not in self._images:
            drawn = draw_validation(manifest, *rule) if rule else manifest
            self._images[key] = manifest, images_of(drawn, splits)
        return self._images[key][1]


def _count_missing(images: Mapping[str, pl.DataFrame], backbone: str, workspace: Workspace) -> int:
    """How many of the images of each source its store lacks, apart from undecodable ones, which are not tried again."""
    missing = 0
    for source, of_source in images.items():
        try:
            store = FeatureStore(workspace.store(source, backbone))
            known = [*store.ids, *(failure.id for failure in store.failed)]
        except StoreError:  # absent, or damaged, which is said elsewhere
            known = []
        stored = pl.DataFrame({"image": known}, {"image": pl.String})
        missing += of_source.join(stored, on="image", how="anti").height
    return missing
