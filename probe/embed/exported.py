"""A folder that `probe export` wrote: an embedder that needs nothing but itself.

config.json says what the backbone and the head are, model.safetensors has the weights of both, digests.json a digest of
each file, which is checked when the file is read.

    folder = ExportedFolder(Path("embedder"))                   # or ExportedFolder.of_hub("me/groceries@v2")
    folder.config.backbone.model, folder.config.dim
    folder.embedder(torch.device("cpu"))
"""

import re
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import PositiveFloat, PositiveInt, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from probe.backbones import Backbone, BackboneRow, fetch_all, restore_encoder
from probe.embed.embedder import Embedder
from probe.errors import UsageError, first_line
from probe.extract import Selection
from probe.heads import Normalize, SignedPower
from probe.runs import DIGESTS, digest_of, read_digests
from probe.search import Distance
from probe.validation import Strict, describe

CONFIG, WEIGHTS, README = "config.json", "model.safetensors", "README.md"
BACKBONE, HEAD = "backbone.", "head."
"""What the keys of either begin with in WEIGHTS."""
HUB_NAME = re.compile(r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[\w./-]*))?", re.ASCII)


class ExportedConfig(Strict):
    """Its config.json."""

    probe_format: Literal[1] = 1
    name: str
    """Of the backbone, as the run has it."""
    backbone: BackboneRow
    weights_sha256: str
    """Of the file that the backbone's authors published."""
    in_dim: PositiveInt
    """Length of the features."""
    dim: PositiveInt
    """Length of the embeddings."""
    head: tuple[Literal["linear", "normalize"] | PositiveFloat, ...]
    """What comes after the backbone, in this order; HEAD + "0.weight" is of the first of them. A number is the exponent
    of a signed power."""
    distance: Distance
    run: str
    """Its key."""
    preprocess_cfg: dict[str, Any]
    """Preprocessing as open_clip writes it, for other programs."""
    pretrained_cfg: dict[str, Any]
    """Likewise, as timm does."""


class ExportedFolder:
    """Raises UsageError, in one sentence, for what is missing, damaged or of another form, when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def is_one(cls, path: Path) -> bool:
        """Whether a folder looks like one, damaged or not."""
        return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()

    @classmethod
    def of_hub(cls, name: str) -> "ExportedFolder | None":
        """Of a repository on the hub, `owner/name` or `owner/name@revision`, from the hub's cache or the network; None
        for what is no such name. Raises as `fetch_all` does."""
        parts = HUB_NAME.fullmatch(name)
        if parts is None:
            return None
        repository, revision = parts["repository"], parts["revision"]
        what = f"the files of {repository} (there is no folder {name} here)"
        instead = "name the folder that it prints,"
        return cls(fetch_all(repository, (DIGESTS, CONFIG, WEIGHTS), what, instead, revision))

    @property
    def key(self) -> str:
        """What its embeddings depend on."""
        digests = self._digests
        return "-".join(("export", digests[CONFIG], digests[WEIGHTS]))

    @cached_property
    def config(self) -> ExportedConfig:
        file = self._sound(CONFIG)
        try:
            return ExportedConfig.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise UsageError(f"{file} is not of `probe export`: {describe(error, ExportedConfig)}") from error

    def embedder(self, device: torch.device, precision: str = "fp32") -> Embedder:
        file = self._sound(WEIGHTS)
        for name in self._digests.keys() - {WEIGHTS, README}:  # the README is the user's to edit
            if (self.path / name).exists():  # from the hub only what is loaded is fetched
                self._sound(name)
        try:
            state = load_file(file)
            head = head_of(self.config, state)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise UsageError(f"{file} cannot be read ({first_line(error)}); export again.") from error
        of_backbone = {key.removeprefix(BACKBONE): state[key] for key in state if key.startswith(BACKBONE)}
        row, name = self.config.backbone, self.config.name
        encoder = restore_encoder(row, of_backbone, file, device, precision)
        backbone, selection = Backbone(name, row, weights=file), Selection(backbone=name)
        head, distance = head.to(device), self.config.distance
        key = self.key if precision == "fp32" else f"{self.key}-{precision}"
        return Embedder([backbone], [encoder], selection, head, distance, device, key)

    def _sound(self, name: str) -> Path:
        file = self.path / name
        if self._digests[name] != digest_of(file):
            raise UsageError(f"{file} is not what was exported; export again, or download it again.")
        return file

    @cached_property
    def _digests(self) -> dict[str, str]:
        """Of all its files."""
        try:
            digests = read_digests(self.path)
            if missing := {CONFIG, WEIGHTS} - digests.keys():
                raise ValueError(f"{DIGESTS} has none of {', '.join(sorted(missing))}")
            return digests
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(f"{self.path} cannot be checked ({first_line(error)}); export it again.") from error


def head_of(config: ExportedConfig, state: dict[str, torch.Tensor]) -> nn.Sequential:
    """(B, in_dim) -> (B, dim), of a folder's tensors. Raises RuntimeError where they are not its."""
    layers: list[nn.Module] = []
    for number, kind in enumerate(config.head):
        if kind == "linear":
            weight = state.get(f"{HEAD}{number}.weight", torch.empty(0, 0))
            layers.append(nn.Linear(weight.shape[1], weight.shape[0]))
        else:
            layers.append(Normalize() if kind == "normalize" else SignedPower(kind))
    head = nn.Sequential(*layers)
    head.load_state_dict({key.removeprefix(HEAD): value for key, value in state.items() if key.startswith(HEAD)})
    return head.requires_grad_(False).eval()
