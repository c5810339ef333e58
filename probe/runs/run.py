"""A run that is planned: its configuration and inputs, and from them its key and the directory that it will fill.

A run's key is the hash of what decides its numbers: the configuration, the inputs (manifest, features, images) and the
code. Finished work is recognised by it.

    run = Run(config, features.identity, workspace.runs)
    run.done or run.write(fit(config, data, run.checkpoint), "cpu")
    run.directory.scores
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from feature_cache import Location, fingerprint
from probe.fit import RunConfig, RunScores, TrainedConfig, TrainingPlan
from probe.runs.checkpoint import RunCheckpoint
from probe.runs.code import code_of_run
from probe.runs.directory import TENSORBOARD, Environment, Features, Provenance, RunDirectory
from probe.workspace import file_name

if TYPE_CHECKING:
    from probe.fit import Fitted


@dataclass(frozen=True)
class Run:
    """One configuration on one manifest's features."""

    config: RunConfig
    inputs: dict[str, str]
    """CachedFeatures.identity."""
    folder: Path
    """Of all runs."""
    made_for: str = ""
    """`recipe: row`, which is written down and decides nothing."""
    data: str = ""
    """What people call the data, for the name."""

    @cached_property
    def code(self) -> dict[str, str]:
        """A digest of each source file that its numbers depend on."""
        return code_of_run(self.config)

    @cached_property
    def key(self) -> str:
        """64 hex digits."""
        config = self.config.model_dump(mode="json", exclude_none=True)
        return fingerprint({"config": config, "inputs": self.inputs, "code": self.code})

    @property
    def path(self) -> Path:
        parts = [self.config.features_name, self.config.head.kind]
        if isinstance(self.config, TrainedConfig):
            sampler, classifier = self.config.training.sampler, self.config.training.classifier
            parts += [self.config.loss.kind]
            parts += [sampler.kind] if sampler.single_domain else []
            parts += [classifier.kind] if classifier.per_domain else []
            parts += ["zero-gradients"] if classifier.moves_inactive else []
            parts += ["distillation"] if self.config.distillation else []
        parts += [self.config.domain] if self.config.domain else []
        parts += [f"seed{self.config.seed}", *([self.data] if self.data else []), self.key[:12]]
        return self.folder / file_name("_".join(parts))

    @property
    def name(self) -> str:
        """What people call it: the directory's name without the key."""
        return self.path.name.rsplit("_", 1)[0]

    @cached_property
    def directory(self) -> RunDirectory:
        """What is on disk once it is done."""
        return RunDirectory(self.path)

    @property
    def done(self) -> bool:
        return self.directory.done

    @property
    def scores(self) -> RunScores:
        """Of the finished run. Raises UsageError when they are damaged."""
        return self.directory.scores

    @property
    def checkpoint(self) -> RunCheckpoint:
        """What it has left where it was interrupted; gone when the directory appears."""
        return RunCheckpoint(self.path.with_name(f".{self.path.name}.partial"), self.key)

    def epochs(self, images: int) -> int:
        """How many it takes with so many training images; 1 in closed form."""
        return TrainingPlan(self.config.training, images).epochs if isinstance(self.config, TrainedConfig) else 1

    def images_left(self, images: int) -> int:
        """How many of them it still has to see, from its checkpoint on."""
        if not isinstance(self.config, TrainedConfig):
            return images
        plan = TrainingPlan(self.config.training, images)
        return (plan.epochs - len(self.checkpoint.history)) * plan.epoch_samples

    def write(
        self,
        fitted: "Fitted",
        device: str,
        weights: Mapping[str, Location] | None = None,
        images: Mapping[str, Path] | None = None,
    ) -> None:
        """Fills its directory; then the checkpoint goes.

        `device`: the kind that it was fitted on. `weights`: where those of its backbones lie, CachedFeatures.weights.
        `images`: where those of each source lie, Manifest.roots.
        """
        features = Features.model_validate({"dim": fitted.in_dim, "spec": fitted.spec, "weights": weights or {}})
        provenance = Provenance(
            key=self.key, config=self.config, inputs=self.inputs, features=features, code=self.code, sealed=True
        )
        environment = Environment.here(device, fitted.seconds, fitted.seconds_a_step, self.made_for, images or {})
        RunDirectory.write(self.path, provenance, fitted, environment, self.checkpoint.folder / TENSORBOARD)
        self.checkpoint.remove()
