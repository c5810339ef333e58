"""A recipe on this machine: its manifest, the features that are here, its runs, and the commands for what is missing.

inventory = Inventory(recipe, workspace)
inventory.commands            # ["probe extract pocket --backbone mobilenetv1 ...", "probe fit recipes/pocket.yaml ..."]
inventory.runs_of["ArcFace"][0].done
"""

import shlex
from collections.abc import Collection
from functools import cached_property

from feature_cache import StoreError
from probe.data import Manifest, MissingDataError
from probe.errors import UsageError
from probe.extract import CachedFeatures, MissingFeaturesError
from probe.fit import RunConfig
from probe.planning.extraction import Extraction, extractions
from probe.planning.inputs import Inputs, validation_rule
from probe.planning.specialists import by_seed, measured_steps
from probe.recipes import Recipe, Row, curation_commands, require_distinct_columns, undrawable
from probe.runs import Run
from probe.workspace import Workspace, as_named


class Inventory:
    """Looks at the disk once, when it is made."""

    def __init__(self, recipe: Recipe, workspace: Workspace, inputs: Inputs | None = None) -> None:
        """`inputs`: shared with the inventories of other recipes. Raises UsageError where two columns would have one
        name."""
        self.recipe, self.workspace = recipe, workspace
        self.manifest: Manifest | None = None
        self.data: dict[str, Manifest] = {}
        """By name: the recipe's data and the training sets, those that are here."""
        self.features: dict[str, CachedFeatures] = {}
        """By the rows' `features_key`."""
        self.missing: list[str] = []
        """Reasons for missing data or features."""
        self.unmended: list[str] = []
        """Those of them that no command mends."""
        self.unfit: dict[str, str] = {}
        """By row, why the data are none that it could be fitted or scored on."""
        self.extractions: dict[str, Extraction] = {}
        """By command."""
        self.input_commands: list[str] = []
        """What to run before the runs can be fitted, in order."""
        self._inputs = inputs or Inputs(workspace)
        if recipe.data and self._find_manifest():
            self._find_inputs()

    @cached_property
    def compared(self) -> dict[str, "Inventory"]:
        """Of the recipes whose rows a table of claims compares, by name."""
        recipes = self.recipe.claims.recipes if self.recipe.claims else {}
        return {name: Inventory(recipe, self.workspace, self._inputs) for name, recipe in recipes.items()}

    def _find_manifest(self) -> bool:
        """False where the manifest is faulty, which no command mends."""
        try:
            self.manifest = self.data[self.recipe.data] = self._inputs.data(self.recipe.data)
        except UsageError as error:
            self.missing.append(str(error))
            self.unmended.append(str(error))
            return isinstance(error, MissingDataError)
        require_distinct_columns(self.recipe, self.manifest.domains)
        return True

    def _find_inputs(self) -> None:
        found, undrawn = self._find_training_sets()
        backbones = self.recipe.backbones
        if self.manifest is not None:
            lacking = self._find_features(found)
            lacking |= {backbone.name for row in self.recipe.rows if row.train in undrawn for backbone in row.backbones}
            backbones = [backbone for backbone in backbones if backbone.name in lacking]
        for backbone in backbones:
            found = extractions(self.recipe, backbone, self.data, self.workspace.datasets)
            self.extractions |= {extraction.command(self.workspace): extraction for extraction in found}
        self.input_commands = curation_commands(undrawn, self.recipe.path.parent, self.workspace)
        self.input_commands += self.extractions

    def _find_training_sets(self) -> tuple[set[str | None], list[str]]:
        """The training sets that are here (None: the recipe's own), and those that are not."""
        found: set[str | None] = {None}
        undrawn = []
        for name in dict.fromkeys(row.train for row in self.recipe.rows if row.train):
            try:
                self.data[name] = self._inputs.data(name)
                if self.manifest:
                    self._inputs.data(self.recipe.data, name)
                found.add(name)
            except MissingDataError:
                undrawn.append(name)
            except UsageError as error:
                self.missing.append(f"trained on {name}: {error}")
                self.unmended.append(self.missing[-1])
        if undrawn:
            lacking = undrawable(undrawn, self.recipe.path.parent, self.workspace)
            self.missing += [f"not drawn yet: {', '.join(undrawn)}", *lacking]
            self.unmended += lacking
        return found, undrawn

    def _find_features(self, training_sets: Collection[str | None]) -> set[str]:
        """Joins the features of each row to what it reads of the data; returns the backbones whose features are
        missing."""
        absent: dict[str, str] = {}
        faults: dict[str, str] = {}
        for row in (row for row in self.recipe.rows if row.runs and row.train in training_sets):
            try:
                manifest = self._inputs.rows_of(self.recipe.data, row)
            except UsageError as error:
                self.unfit[row.name] = str(error)
                continue
            key = row.features_key
            if key in self.features or key in faults:
                continue
            specs = {backbone.name: backbone.identity() for backbone in row.backbones}
            try:
                self.features[key] = self._inputs.features(manifest, row.selection, specs)
            except MissingFeaturesError as error:
                absent |= error.missing
            except (UsageError, StoreError) as error:  # stale or damaged: the message has the remedy
                faults[key] = str(error)
        self.missing += dict.fromkeys([*absent.values(), *faults.values()])
        return set(absent)

    def require_complete(self) -> None:
        """Raises UsageError, with the commands to run first, when data or features are missing, and where the data are
        none for any row."""
        if self.missing:
            commands = f" First run: {'; '.join(self.input_commands)}" if self.input_commands else ""
            raise UsageError(" ".join(self.missing) + commands)
        if self.unfit and all(row.name in self.unfit for row in self.recipe.rows if row.runs):
            raise UsageError(" ".join(self.unfit_rows))

    @property
    def unfit_rows(self) -> list[str]:
        """A sentence for each reason in `unfit`, with its rows."""
        return [
            f"{', '.join(row for row, other in self.unfit.items() if other == reason)}: {reason}"
            for reason in dict.fromkeys(self.unfit.values())
        ]

    @cached_property
    def runs_of(self) -> dict[str, list[Run]]:
        """Each row's runs, by seed and then by domain; none where its features are missing, or the steps that its
        sampler takes are not measured yet."""
        first = {row.name: self._runs(row, {}) for row in self.recipe.rows if row.steps_of is None}
        waiting = {row.name: self._runs(row, first) for row in self.recipe.rows if row.steps_of is not None}
        return {row.name: (first | waiting)[row.name] for row in self.recipe.rows}

    def forget_runs(self) -> None:
        """After specialists were fitted: the rows that waited for them have runs now."""
        self.__dict__.pop("runs_of", None)

    def runs(self, rows: Collection[str] | None = None) -> list[tuple[Run, CachedFeatures]]:
        """All runs that can be made, or those of some rows, with their features."""
        return [
            (run, self.features[row.features_key])
            for row in self.recipe.rows
            for run in self.runs_of[row.name]
            if rows is None or row.name in rows
        ]

    def finished(self, row: Row) -> list[list[Run]]:
        """The row's finished seeds, each with its runs: one, or of specialists one a domain, all of them done."""
        return [runs for runs in by_seed(self.runs_of[row.name]) if all(run.done for run in runs)]

    @property
    def waiting(self) -> dict[str, str]:
        """Row -> the row of specialists that it waits for, where only these are missing."""
        return {
            row.name: row.steps_of
            for row in self.recipe.rows
            if row.steps_of is not None and not self.runs_of[row.name] and self.features_of(row)
        }

    @property
    def commands(self) -> list[str]:
        """What to run to complete the table, in order."""
        unfinished = any(not run.done for runs in self.runs_of.values() for run in runs)
        fit = [self.fit_command] if self.input_commands or self.waiting or unfinished else []
        return self.input_commands + fit

    @property
    def fit_command(self) -> str:
        """What fits the missing runs."""
        options = self.workspace.options("data_root", "cache", "out")
        return shlex.join(["probe", "fit", str(as_named(self.recipe.path)), *self.recipe.options, *options])

    def features_of(self, row: Row) -> CachedFeatures | None:
        """None where they are missing, and for a row without runs."""
        return self.features.get(row.features_key) if row.runs else None

    def draws_validation(self, row: Row) -> bool:
        """Whether it selects its epoch on classes of its training images."""
        return self.manifest is not None and validation_rule(row, self.manifest.splits) is not None

    def run(self, row: Row, config: RunConfig, identity: dict[str, str]) -> Run:
        """A run of a row. `identity`: of its features; empty where they are missing."""
        made_for = "" if self.recipe.options else f"{self.recipe.name}: {row.name}"  # changed, it is not the row's
        names = [self.data[name].name for name in (row.train, self.recipe.data) if name in self.data]
        return Run(config, identity, self.workspace.runs, made_for, "+".join(filter(None, names)))

    def _runs(self, row: Row, specialists: dict[str, list[Run]]) -> list[Run]:
        features, steps = self.features_of(row), None
        if features is None:
            return []
        if row.steps_of is not None:
            of_first_seed = next(iter(by_seed(specialists[row.steps_of])), [])
            if not of_first_seed or not all(run.done for run in of_first_seed):
                return []
            steps = measured_steps(of_first_seed)
        configs = row.configs(features.manifest.domains, steps)
        return [self.run(row, config, features.identity) for config in configs]
