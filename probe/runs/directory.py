"""A run directory: everything one run leaves behind, and how a finished run is recognised.

A run's key is the hash of what decides its result: the configuration, the manifest, the features' fingerprints and the
version of this code's results. The directory appears under its name when the run is done, never before.

    run = Run(config, features.identity, workspace.runs)
    run.done or run.write(fit(config, data, run.checkpoint), "cpu")
"""

import json
import platform
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from feature_cache import Spec, fingerprint
from probe.errors import UsageError
from probe.fit import RunConfig, RunScores, Separate, TrainedConfig, TrainingPlan, read_run_config
from probe.runs.checkpoint import Checkpoint
from probe.runs.tensorboard import TENSORBOARD
from probe.storage import new_folder
from probe.validation import Model, describe, parse_yaml
from probe.workspace import file_name

if TYPE_CHECKING:
    from probe.fit import Fitted

RESULTS_VERSION = 4  # raise it when the same configuration gives other numbers than before
PACKAGES = ("probe", "torch", "numpy", "polars", "h5py", "scikit-learn", "timm")


@dataclass(frozen=True)
class Run:
    """One configuration on one manifest's features. `inputs`: CachedFeatures.identity. `made_for`: `recipe: row`, which
    is written down and decides nothing."""

    config: RunConfig
    inputs: dict[str, str]
    folder: Path
    made_for: str = ""

    @cached_property
    def key(self) -> str:
        """64 hex digits."""
        config = self.config.model_dump(mode="json", exclude_none=True)
        return fingerprint({"results": RESULTS_VERSION, "config": config, "inputs": self.inputs})

    @property
    def path(self) -> Path:
        parts = [self.config.features_name, self.config.head.kind]
        if isinstance(self.config, TrainedConfig):
            sampler, classifier = self.config.training.sampler, self.config.training.classifier
            parts += [self.config.loss.kind]
            parts += [sampler.kind] if sampler.single_domain else []
            if isinstance(classifier, Separate):
                parts += ["separate"] if classifier.inactive == "skip" else ["separate", classifier.inactive]
            parts += ["distillation"] if self.config.distillation else []
        parts += [self.config.domain] if self.config.domain else []
        return self.folder / file_name(f"{'_'.join(parts)}_seed{self.config.seed}_{self.key[:12]}")

    @property
    def checkpoint(self) -> Checkpoint:
        """What it has left where it was interrupted; gone when the directory appears."""
        return Checkpoint(self.path.with_name(f".{self.path.name}.partial"), self.key)

    @property
    def name(self) -> str:
        """What people call it: the directory's name without the key."""
        return self.path.name.rsplit("_", 1)[0]

    def epochs(self, images: int) -> int:
        """How many it takes with so many training images; 1 in closed form."""
        return TrainingPlan(self.config.training, images).epochs if isinstance(self.config, TrainedConfig) else 1

    def images_left(self, images: int) -> int:
        """How many of them it still has to see, from its checkpoint on."""
        if not isinstance(self.config, TrainedConfig):
            return images
        plan = TrainingPlan(self.config.training, images)
        return (plan.epochs - len(self.checkpoint.history)) * plan.epoch_samples

    @property
    def done(self) -> bool:
        return (self.path / "metrics.json").exists()

    @cached_property
    def scores(self) -> RunScores:
        """What the finished run scored. Raises UsageError when it is damaged."""
        return read_scores(self.path, RunScores)

    def write(self, fitted: "Fitted", device: str) -> None:
        """Writes the directory under a temporary name and renames it; then the checkpoint goes."""
        from safetensors.torch import save_file

        from probe.heads import save_head
        from probe.metrics.scores import PER_QUERY

        config = {
            "key": self.key,
            "config": self.config.model_dump(mode="json"),
            "inputs": self.inputs,
            "features": {"dim": fitted.in_dim, "spec": fitted.spec},
        }
        with new_folder(self.path) as folder:
            (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
            (folder / "history.jsonl").write_text("".join(f"{record.json_line()}\n" for record in fitted.history))
            environment = _environment(device) | {"seconds": fitted.seconds, "made_for": self.made_for}
            (folder / "environment.json").write_text(json.dumps(environment, indent=1))
            save_head(fitted.head, folder / "head.safetensors")
            if fitted.loss_state:
                state = {name: value.cpu().contiguous() for name, value in fitted.loss_state.items()}
                save_file(state, folder / "loss.safetensors")
            events = self.checkpoint.folder / TENSORBOARD
            if events.exists():
                events.rename(folder / TENSORBOARD)
            for index, queries in fitted.per_query.items():
                queries.write_parquet(folder / PER_QUERY[index])
            write_json(folder / "metrics.json", fitted.scores.model_dump())
        self.checkpoint.remove()


@dataclass(frozen=True)
class FinishedRun:
    """What a run directory says of itself. `spec`: of each store that it was fitted on; `dim`: the features' length."""

    path: Path
    key: str
    config: RunConfig
    spec: dict[str, Spec]
    dim: int


def read_run(path: Path) -> FinishedRun:
    """A finished run's directory. Raises UsageError when it is not one."""
    path = path.resolve()  # `.` has a name too
    try:
        content = parse_yaml((path / "config.yaml").read_text())
        features = content["features"]
        config = read_run_config(content["config"])
        return FinishedRun(path, content["key"], config, features["spec"], features["dim"])
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a finished run; name one of the folders that `probe fit` made.") from error


def write_json(path: Path, value: Any) -> None:
    """Sorted keys and full precision, so that equal results are equal files."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_scores(folder: Path, model: type[Model]) -> Model:
    """metrics.json of a finished run or evaluation. Raises UsageError when it is absent, damaged or of another form."""
    path = folder / "metrics.json"
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = describe(error, model).rstrip(".")
    except (OSError, ValueError) as error:
        problem = str(error)
    raise UsageError(f"{path} cannot be read ({problem}); delete {folder} and fit again.")


def _environment(device: str) -> dict[str, Any]:
    import torch

    return {
        "device": device,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: version(name) for name in PACKAGES},
    }
