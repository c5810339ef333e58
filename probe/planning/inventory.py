"""A recipe on this machine: its manifest, the features that are there, its runs, and the commands for what is missing.

bench = Bench(recipe, workspace)
bench.needs            # ["probe extract pocket --backbone mobilenetv1 ..."]
fit_waves(bench, "auto")
"""

import shlex
from collections.abc import Collection, Mapping
from functools import cached_property

from feature_cache import StoreError
from probe.data.manifest import Manifest
from probe.data.resolve import MissingDataError, resolve_data
from probe.errors import UsageError
from probe.extract.features import CachedFeatures
from probe.extract.plan import Settings
from probe.extract.session import extract_sources
from probe.extract.stores import MissingFeaturesError
from probe.fit import RunConfig
from probe.planning.extraction import Extraction, extractions
from probe.planning.inputs import Shelf
from probe.planning.specialists import by_seed, measured_steps
from probe.recipes.recipe import Recipe, require_own_columns
from probe.recipes.row import Row
from probe.recipes.training_sets import draw_commands
from probe.runs.directory import Run
from probe.runs.sweep import SweepError, sweep
from probe.workspace import Workspace


def complete(recipe: Recipe, workspace: Workspace, device_choice: str) -> None:
    """Extracts and fits whatever a recipe lacks; what is done is skipped."""
    manifest = resolve_data(recipe.data, workspace.data_root, datasets=workspace.datasets)
    for backbone in recipe.backbones:
        extract_sources([manifest], backbone, workspace, Settings(), device_choice)
    fit_waves(Bench(recipe, workspace), device_choice)


def fit_waves(bench: "Bench", device_choice: str, jobs: int = 1, tensorboard: bool = False) -> int:
    """Fits what is not done, then the rows that waited for specialists among it; returns how many runs. As `sweep`."""
    waiting = list(bench.waiting)
    fitted, failed = 0, None
    try:
        fitted = sweep(bench.runs(), device_choice, jobs, tensorboard)
    except SweepError as error:
        failed = error
    if waiting:
        bench.look_again()
        fitted += sweep(bench.runs(waiting), device_choice, jobs, tensorboard)
    if failed:
        raise failed
    return fitted


class Bench:
    """Looks at the disk once, when it is made; `missing` says why what is not there is not there. `shelf`: what the
    benches of other recipes have read already."""

    def __init__(self, recipe: Recipe, workspace: Workspace, shelf: Shelf | None = None) -> None:
        self.recipe, self.workspace = recipe, workspace
        self._shelf = shelf or Shelf(workspace)
        self.manifest: Manifest | None = None
        self.data: dict[str, Manifest] = {}  # by name: the recipe's, and the training sets that are here
        self.missing: list[str] = []
        self.needs: list[str] = []
        self.extractions: dict[str, Extraction] = {}  # those of `needs`
        self.features: dict[str, CachedFeatures] = {}
        if not recipe.data:
            return
        try:
            self.manifest = self.data[recipe.data] = self._shelf.data(recipe.data)
        except MissingDataError as error:
            self.missing.append(str(error))
        except UsageError as error:  # the manifest is faulty: no command mends that
            self.missing.append(str(error))
            return
        if self.manifest is not None:
            require_own_columns(recipe, self.manifest.domains)
        trained_on, undrawn = self._with_training_sets()
        absent = dict.fromkeys(backbone.name for backbone in recipe.backbones)
        if self.manifest is not None:
            absent = self._look_for_features(trained_on)
            absent |= {backbone.name: "" for row in recipe.rows if row.train in undrawn for backbone in row.backbones}
        self.needs = draw_commands(undrawn, recipe.path.parent, workspace)
        for backbone in (each for each in recipe.backbones if each.name in absent):
            found = extractions(recipe, backbone, self.data, workspace.datasets)
            self.extractions |= {one.command(workspace): one for one in found}
        self.needs += self.extractions

    def _with_training_sets(self) -> tuple[dict[str | None, Manifest], list[str]]:
        """The manifest by what it is trained on, and the training sets that are not here."""
        trained_on: dict[str | None, Manifest] = {None: self.manifest} if self.manifest else {}
        undrawn = []
        for name in dict.fromkeys(row.train for row in self.recipe.rows if row.train):
            try:
                self.data[name] = self._shelf.data(name)
                if self.manifest:
                    trained_on[name] = self._shelf.data(self.recipe.data, name)
            except MissingDataError:
                undrawn.append(name)
            except UsageError as error:
                self.missing.append(f"trained on {name}: {error}")
        if undrawn:
            self.missing.append(f"not drawn yet: {', '.join(undrawn)}")
        return trained_on, undrawn

    def _look_for_features(self, trained_on: Mapping[str | None, Manifest]) -> dict[str, str]:
        """Joins what each row reads, once; what is not there, by backbone."""
        absent: dict[str, str] = {}
        faults: dict[str, str] = {}
        for row in (row for row in self.recipe.rows if row.runs and row.train in trained_on):
            name, manifest = row.features_name, trained_on[row.train]
            if name in self.features or name in faults:
                continue
            asked = {backbone.name: backbone.identity() for backbone in row.backbones}
            try:
                self.features[name] = self._shelf.features(manifest, row.selection, asked)
            except MissingFeaturesError as error:
                absent |= error.missing
            except (UsageError, StoreError) as error:  # stale or damaged: the message has the remedy
                faults[name] = str(error)
        self.missing += dict.fromkeys([*absent.values(), *faults.values()])
        return absent

    def require_complete(self) -> None:
        """Raises UsageError, with the commands to run first, when anything is missing."""
        if self.missing:
            commands = f" First run: {'; '.join(self.needs)}" if self.needs else ""
            raise UsageError(" ".join(self.missing) + commands)

    def look_again(self) -> None:
        """After runs were fitted that others wait for."""
        self.__dict__.pop("runs_of", None)

    @cached_property
    def runs_of(self) -> dict[str, list[Run]]:
        """Each row's runs, by seed and then by domain; none where its features are missing, or the steps that its
        sampler takes are not measured yet."""
        first = {row.name: self._runs(row, {}) for row in self.recipe.rows if row.steps_of is None}
        waiting = {row.name: self._runs(row, first) for row in self.recipe.rows if row.steps_of is not None}
        return {row.name: (first | waiting)[row.name] for row in self.recipe.rows}

    def finished(self, row: Row) -> list[list[Run]]:
        """The row's runs of each seed whose runs are all done: one a seed, or of specialists one a domain."""
        return [runs for runs in by_seed(self.runs_of[row.name]) if all(run.done for run in runs)]

    @property
    def waiting(self) -> dict[str, str]:
        """Rows whose features are here, but not the specialists that they wait for, and the row of those."""
        return {
            row.name: row.steps_of
            for row in self.recipe.rows
            if row.steps_of is not None and not self.runs_of[row.name] and self._features_of(row)
        }

    def runs(self, rows: Collection[str] | None = None) -> list[tuple[Run, CachedFeatures]]:
        """All runs that could be made, or those of some rows, with their features."""
        return [
            (run, self.features[row.features_name])
            for row in self.recipe.rows
            for run in self.runs_of[row.name]
            if rows is None or row.name in rows
        ]

    def _runs(self, row: Row, specialists: dict[str, list[Run]]) -> list[Run]:
        features, steps = self._features_of(row), None
        if features is None:
            return []
        if row.steps_of is not None:
            of_first_seed = next(iter(by_seed(specialists[row.steps_of])), [])
            if not of_first_seed or not all(run.done for run in of_first_seed):
                return []
            steps = measured_steps(of_first_seed)
        configs = row.configs(features.manifest.domains, steps)
        return [self.run(row, config, features.identity) for config in configs]

    def run(self, row: Row, config: RunConfig, inputs: dict[str, str]) -> Run:
        """A run of a row; what the command line changed is not the row's."""
        made_for = "" if self.recipe.options else f"{self.recipe.name}: {row.name}"
        return Run(config, inputs, self.workspace.runs, made_for)

    def _features_of(self, row: Row) -> CachedFeatures | None:
        return self.features.get(row.features_name) if row.runs else None

    @property
    def fit_command(self) -> str:
        """What fits the runs that are not done."""
        options = self.workspace.options("data_root", "cache", "out")
        return shlex.join(["probe", "fit", str(self.recipe.path), *self.recipe.options, *options])
