"""A recipe on this machine: its manifest, the features that are there, its runs, and the commands for what is missing.

bench = Bench(recipe, workspace)
bench.needs            # ["probe extract pocket --backbone mobilenetv1 ..."]
sweep(bench.runs(), "auto")
"""

import shlex
from functools import cached_property

from feature_cache import StoreError
from probe.backbones.catalogue import Backbone
from probe.data.manifest import Manifest
from probe.data.resolve import MissingDataError, resolve_data
from probe.errors import UsageError
from probe.extract.features import CachedFeatures
from probe.extract.plan import Settings
from probe.extract.session import extract_sources
from probe.extract.stores import MissingFeaturesError
from probe.fit.run import Run
from probe.fit.sweep import sweep
from probe.tables.recipe import Recipe, Row
from probe.workspace import Workspace


def complete(recipe: Recipe, workspace: Workspace, device_choice: str) -> None:
    """Extracts and fits whatever a recipe lacks; what is done is skipped."""
    manifest = resolve_data(recipe.data, workspace.data_root)
    for backbone in recipe.backbones:
        extract_sources([manifest], backbone, workspace, Settings(), device_choice)
    sweep(Bench(recipe, workspace).runs(), device_choice)


class Bench:
    """Looks at the disk once, when it is made; `missing` says why what is not there is not there."""

    def __init__(self, recipe: Recipe, workspace: Workspace) -> None:
        self.recipe, self.workspace = recipe, workspace
        self.manifest: Manifest | None = None
        self.missing: list[str] = []
        self.needs: list[str] = []
        self.features: dict[str, CachedFeatures] = {}
        try:
            self.manifest = resolve_data(recipe.data, workspace.data_root)
        except MissingDataError as error:
            self.missing.append(str(error))
        except UsageError as error:  # the manifest is faulty: no command mends that
            self.missing.append(str(error))
            return
        absent = dict.fromkeys(backbone.name for backbone in recipe.backbones)
        if self.manifest is not None:
            absent = self._look_for_features(self.manifest)
        self.needs = [self._extract_command(backbone) for backbone in recipe.backbones if backbone.name in absent]

    def _look_for_features(self, manifest: Manifest) -> dict[str, str]:
        """Joins what each row reads, once; what is not there, by backbone."""
        absent: dict[str, str] = {}
        faults: dict[str, str] = {}
        for row in self.recipe.rows:
            name = row.selection.features_name
            if name in self.features or name in faults:
                continue
            asked = {backbone.name: backbone.identity() for backbone in row.backbones}
            try:
                self.features[name] = CachedFeatures(manifest, row.selection, asked, self.workspace)
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

    @cached_property
    def runs_of(self) -> dict[str, list[Run]]:
        """Each row's runs, one a seed; none where its features are missing."""
        return {row.name: self._runs(row) for row in self.recipe.rows}

    def runs(self) -> list[tuple[Run, CachedFeatures]]:
        """All runs that could be made, with their features."""
        return [
            (run, self.features[row.selection.features_name])
            for row in self.recipe.rows
            for run in self.runs_of[row.name]
        ]

    def _runs(self, row: Row) -> list[Run]:
        features = self.features.get(row.selection.features_name)
        return [Run(config, features.identity, self.workspace.runs) for config in row.runs] if features else []

    @property
    def fit_command(self) -> str:
        """What fits the runs that are not done."""
        options = self.workspace.options("data_root", "cache", "out")
        return shlex.join(["probe", "fit", str(self.recipe.path), *self.recipe.options, *options])

    def _extract_command(self, backbone: Backbone) -> str:
        if backbone.row.library == "foreign":
            return f"probe cache import FILE --source SOURCE --name {shlex.quote(backbone.row.model)}"
        words = ["probe", "extract", self.recipe.data, "--backbone", backbone.name]
        if backbone.catalogue:
            words += ["--catalogue", str(backbone.catalogue)]
        if backbone.row.weights:
            words += ["--weights", backbone.row.weights]
        return shlex.join(words + self.workspace.options("data_root", "cache"))
