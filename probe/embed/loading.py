"""From a finished run to its embedder: the backbones that made its features, by the same weights, and its head.

The weights are looked for where they lay when the features were extracted; others than those are refused. A folder that
`probe export` wrote brings its own, and so does a repository on the hub with such a folder.

    embedder = load("out/runs/mobilenetv1_linear_arcface_seed0_0a1b2c3d4e5f", device="cpu")
    embedder = load("me/groceries@v2")
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import ValidationError

from probe.backbones import Backbone, BackboneRow, load_encoder
from probe.device import choose_device
from probe.embed.embedder import Embedder
from probe.embed.exported import ExportedFolder
from probe.errors import UsageError, first_line, nearest
from probe.extract import feature_differences
from probe.precision import Precision, choose_precision
from probe.runs import RunDirectory

Weights = str | Path | Mapping[str, str | Path]
Precisions = str | Mapping[str, str]


def load(
    path: str | Path | RunDirectory,
    *,
    weights: Weights | None = None,
    device: str = "auto",
    precision: Precisions | None = None,
) -> Embedder:
    """The embedder of a finished run, which may be named by its folder, or of a folder that `probe export` wrote, here
    or on the hub: `owner/name` or `owner/name@revision`, which is downloaded unless it is in the hub's cache.

    `weights`: the backbone's checkpoint, where it is not any more where it was; of several backbones, by their names.
    `device`: auto, cpu or cuda. `precision` of the forward pass, or of each backbone's by its name: fp32, bf16, fp16 or
    auto; by default, what the features were made with. Raises UsageError for what is no finished run, for weights that
    are not there, for others than those that made its features, with the digests of both, and where the hub is out of
    reach.
    """
    path = path.path if isinstance(path, RunDirectory) else path
    if not isinstance(path, str | Path):
        raise UsageError(f"{path!r} is of type {type(path).__name__}; name a run's folder, or an exported one.")
    folder = Path(path).expanduser()
    if folder.is_file():
        raise UsageError(f"{path} is a file; name the folder that it lies in.")
    where, _ = choose_device(device)
    if exported := _exported(path, folder):
        if weights is not None:
            raise UsageError(f"weights: {path} brings its own; leave them out.")
        return exported.embedder(where, _asked(precision, exported.config.name, where) or Precision.fp32)
    run = RunDirectory(folder)
    run.require_done()
    names = run.config.stores("test")
    given = _by_backbone(weights, run.config.backbones)
    backbones, encoders, key = [], [], run.key
    for name, store in zip(run.config.backbones, names, strict=True):
        backbone = _backbone(store, run, given.get(name))
        backbones.append(backbone)
        usual, asked = _precision(run, store), _asked(precision, name, where)
        encoders.append(load_encoder(backbone, where, asked or usual))
        if asked and asked != usual and backbone.needs_weights:
            key += f"-{asked}"
    return Embedder(backbones, encoders, run.config, run.head(where), run.config.distance, where, key)


def _exported(path: str | Path, folder: Path) -> ExportedFolder | None:
    if ExportedFolder.is_one(folder):
        return ExportedFolder(folder)
    return None if folder.exists() else ExportedFolder.of_hub(str(path))


def _by_backbone(weights: Weights | None, backbones: tuple[str, ...]) -> dict[str, Path]:
    if weights is None:
        return {}
    if isinstance(weights, str | Path):
        if len(backbones) > 1:
            raise UsageError(f"weights: there are several backbones; name a file for each: {', '.join(backbones)}.")
        weights = dict.fromkeys(backbones, weights)
    for name in weights:
        if name not in backbones:
            raise UsageError(f"weights: there is no backbone '{name}'; {nearest(name, backbones)}")
    return {name: Path(file).expanduser() for name, file in weights.items()}


def _asked(precision: Precisions | None, name: str, device: torch.device) -> Precision | None:
    """Of a backbone; None for that of its features."""
    choice = precision.get(name) if isinstance(precision, Mapping) else precision
    return None if choice is None else choose_precision(choice, device)[0]


def _precision(run: RunDirectory, store: str) -> Precision:
    return Precision.of_dtype(run.features.spec[store].get("precision")) or Precision.fp32


def _backbone(store: str, run: RunDirectory, given: Path | None) -> Backbone:
    """What made a store's features, its weights found and checked."""
    spec = run.features.spec[store]
    if "backbone" not in spec:
        raise UsageError(
            f"the features of {run.path} were made elsewhere ('{store}'), and nobody here can make more; embed images "
            "there, and score them with `probe evaluate`."
        )
    try:
        row = BackboneRow.of_spec(spec)
    except ValidationError as error:
        raise UsageError(f"{run.path}: no backbone is made by the spec of '{store}' ({first_line(error)}).") from error
    backbone = Backbone(store, row, weights=_weights(store, row, run, given))
    wanted, found = spec["backbone"].get("weights_sha256"), backbone.weights_sha256
    if found != wanted:
        raise UsageError(
            f"{backbone.weights_file} has SHA-256 {found}, and the features of {run.path} were made by weights of "
            f"SHA-256 {wanted}; name the file with `weights` (--weights)."
        )
    if lines := feature_differences(spec, backbone.spec(spec["dtype"], _precision(run, store))):
        raise UsageError(
            f"{run.path} was fitted on other features than '{store}' gives here ({'; '.join(lines)}); extract and fit "
            "again."
        )
    return backbone


def _weights(store: str, row: BackboneRow, run: RunDirectory, given: Path | None) -> Path | None:
    """The file of the weights; None for a backbone that has none, or where only the hub can have them."""
    if given is not None:
        if not given.is_file():
            raise UsageError(f"weights: there is no file {given}.")
        if row.library == "built-in":
            raise UsageError(f"weights: the backbone '{store}' has none; leave them out.")
        return given
    location = run.features.weights.get(store)
    if location is not None:
        return location.find(f"the weights of {store}", "name the file with `weights` (--weights),")
    if row.library != "built-in" and row.hub_repository is None:
        raise UsageError(
            f"{run.path} does not say where the weights of {store} were; name the file with `weights` (--weights)."
        )
    return None
