"""A run directory: everything that one run leaves behind, written whole when the run is done, never before.

This is the only code that writes or reads these files. Each is read when it is asked for, once; what is missing,
damaged or of another form raises UsageError, in one sentence.

    found = RunDirectory(Path("out/runs/descriptor_linear_arcface_seed0_0a1b2c3d4e5f"))
    found.scores.test.of("clean", "merged").mean["mMP@5"]
    found.head(device)(features)      # (N, D) -> (N, d)
"""

import platform
import shutil
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PositiveInt,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)

from feature_cache import Spec, fingerprint
from probe.backbones import WeightsLocation
from probe.device import gpu_name
from probe.errors import UsageError, first_line
from probe.fit import (
    ClosedFormConfig,
    EpochRecord,
    RunConfig,
    RunScores,
    TrainedConfig,
    is_closed_form,
    read_run_config,
)
from probe.runs.scored import CONFIG, SCORES, ScoredFolder, write_scored
from probe.storage import new_folder
from probe.validation import describe, parse_yaml

if TYPE_CHECKING:
    import torch
    from torch import nn

    from probe.fit import Fitted

ENVIRONMENT, HISTORY = "environment.json", "history.jsonl"
HEAD, LOSS = "head.safetensors", "loss.safetensors"
TENSORBOARD = "tensorboard"
PACKAGES = ("probe", "torch", "numpy", "polars", "h5py", "scikit-learn", "timm")


class Features(BaseModel):
    """The features that a run was fitted on."""

    dim: Annotated[PositiveInt, Field(lt=2**31)]
    """Their length."""
    spec: dict[str, Spec]
    """Of each store, what made them."""
    weights: dict[str, WeightsLocation] = {}
    """Of each store, where the weights lay that made them; of those that tell."""

    @field_validator("spec")
    @classmethod
    def _is_json(cls, spec: dict[str, Spec]) -> dict[str, Spec]:
        fingerprint(spec)
        return spec


def _configuration(given: Any) -> RunConfig:
    if isinstance(given, RunConfig):
        return given
    try:
        return read_run_config(given)
    except ValidationError as error:
        raise ValueError(describe(error, ClosedFormConfig if is_closed_form(given) else TrainedConfig)) from error


class Provenance(BaseModel):
    """What a run was made of: its config.yaml."""

    key: str
    """The hash of `config`, `inputs` and `code`."""
    config: SerializeAsAny[Annotated[RunConfig, BeforeValidator(_configuration)]]
    inputs: dict[str, str]
    """CachedFeatures.identity: digests of the manifest, the features and the images."""
    features: Features
    code: dict[str, str] | None = None
    """A digest of each source file that its numbers depend on; None for a run of an earlier version of probe."""
    sealed: bool = False
    """Whether there are digests of its files; not of an earlier version's."""

    @model_validator(mode="after")
    def _features_are_those_of_the_configuration(self) -> Self:
        if missing := set(self.config.stores("test")) - self.features.spec.keys():
            raise ValueError(f"there is no spec of the features of {', '.join(sorted(missing))}")
        return self


class Environment(BaseModel):
    """Where and for what a run was made, which decides nothing: its environment.json."""

    device: str = ""
    gpu: str = ""
    """Its name, where there is one."""
    threads: int | None = None
    python: str = ""
    machine: str = ""
    packages: dict[str, str] = {}
    """Versions."""
    seconds: float | None = None
    """Spent on the run, whether or not it was interrupted."""
    seconds_a_step: float | None = None
    """Of training; None in closed form, and where an earlier version of probe made the run."""
    made_for: str = ""
    """`recipe: row`; empty where a run is no row's."""
    images: dict[str, Path] = {}
    """Where the images of each source lay; empty where an earlier version of probe made the run."""

    @classmethod
    def here(
        cls,
        device: str,
        seconds: float,
        seconds_a_step: float | None,
        made_for: str,
        images: Mapping[str, Path],
    ) -> Self:
        """Of this process; `device`: its kind."""
        import torch

        return cls(
            device=device,
            gpu=gpu_name(device),
            threads=torch.get_num_threads(),
            python=platform.python_version(),
            machine=platform.machine(),
            packages={name: version(name) for name in PACKAGES},
            seconds=seconds,
            seconds_a_step=seconds_a_step,
            made_for=made_for,
            images={source: root.resolve() for source, root in images.items()},
        )

    def folder_of(self, source: str, data_root: Path) -> Path:
        """Where its images lie now: where they lay, or else below the data root."""
        known = self.images.get(source)
        return known if known is not None and known.is_dir() else data_root / source


class RunDirectory(ScoredFolder):
    """Of a finished run; `done` says whether it is one."""

    remake = "fit again"

    @classmethod
    def write(
        cls, path: Path, provenance: Provenance, fitted: "Fitted", environment: Environment, events: Path | None = None
    ) -> Self:
        """Writes all files under a temporary name and renames them into place. `events`: a folder of TensorBoard's
        that becomes part of the directory, if it exists."""
        from safetensors.torch import save_file

        from probe.heads import save_head

        with new_folder(path) as folder:
            text = yaml.safe_dump(provenance.model_dump(mode="json"), sort_keys=False)
            (folder / CONFIG).write_text(text, encoding="utf-8")
            history = "".join(f"{record.json_line()}\n" for record in fitted.history)
            (folder / HISTORY).write_text(history, encoding="utf-8")
            (folder / ENVIRONMENT).write_text(environment.model_dump_json(indent=1), encoding="utf-8")
            save_head(fitted.head, folder / HEAD)
            if fitted.loss_state:
                save_file({name: value.cpu().contiguous() for name, value in fitted.loss_state.items()}, folder / LOSS)
            if events is not None and events.exists():
                shutil.move(events, folder / TENSORBOARD)
            write_scored(folder, fitted.scores, fitted.per_query)
        return cls(path)

    def require_done(self) -> None:
        if not self.done and self.provenance:  # which says what is no run at all
            raise UsageError(
                f"{self.path} is an unfinished run: {SCORES}, the mark of a finished one, is missing; fit again."
            )

    @property
    def exists(self) -> bool:
        """Whether there is a run, finished or damaged."""
        return (self.path / CONFIG).exists()

    @cached_property
    def provenance(self) -> Provenance:
        """Its config.yaml."""
        file = self.sound(CONFIG)
        try:
            return Provenance.model_validate(parse_yaml(file.read_text(encoding="utf-8")))
        except ValidationError as error:
            problem = describe(error, Provenance)
        except (OSError, ValueError) as error:
            problem = first_line(error)
        if not self.exists:
            raise UsageError(f"{self.path} is not a finished run; name one of the folders that `probe fit` made.")
        raise UsageError(f"{file} cannot be read ({problem.rstrip('.')}); put back what it names, or fit again.")

    @property
    def key(self) -> str:
        return self.provenance.key

    @property
    def config(self) -> RunConfig:
        return self.provenance.config

    @property
    def inputs(self) -> dict[str, str]:
        return self.provenance.inputs

    @property
    def features(self) -> Features:
        return self.provenance.features

    @property
    def code(self) -> dict[str, str] | None:
        return self.provenance.code

    @cached_property
    def scores(self) -> RunScores:
        return self._read_json(RunScores)

    @cached_property
    def environment(self) -> Environment:
        return self._read_json(Environment, ENVIRONMENT)

    @cached_property
    def history(self) -> list[EpochRecord]:
        """Of each epoch; empty for a head in closed form."""
        file = self.sound(HISTORY)
        try:
            records = [EpochRecord.model_validate_json(line) for line in file.read_text(encoding="utf-8").splitlines()]
        except ValidationError as error:
            self._fail(file, describe(error, EpochRecord))
        except (OSError, ValueError) as error:
            self._fail(file, first_line(error))
        if not records and not is_closed_form(self.config):
            self._fail(file, "it has no epoch")
        return records

    @property
    def texts(self) -> dict[str, str]:
        """By file name, what a person reads of how the run was made; what is missing is left out."""
        files = [self.sound(name) for name in (CONFIG, ENVIRONMENT)]
        try:
            return {file.name: file.read_text(encoding="utf-8") for file in files if file.is_file()}
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{self.path}: {CONFIG} or {ENVIRONMENT} cannot be read ({first_line(error)}); delete it and fit again."
            ) from error

    def head(self, device: "torch.device") -> "nn.Module":
        """(N, D) -> (N, d), in eval mode."""
        from probe.heads import load_head

        return load_head(self.config.head, self.sound(HEAD), self.features.dim, device)
