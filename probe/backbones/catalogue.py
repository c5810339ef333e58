"""The catalogue: which backbones are known, each a row of data; and how a name becomes a backbone that can be loaded.

A backbone's spec (library, model, options, weights digest, preprocessing) decides its features; two backbones with
equal specs are the same, whatever they are called.

    backbone = find_backbone("mobilenetv1", catalogue=Path("recipes/pocket.yaml"), weights=Path("m.safetensors"))
    backbone.spec()
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from feature_cache import require_regular
from probe.backbones.comparison import PixelComparison
from probe.backbones.hub import cached, fetch
from probe.backbones.row import BackboneRow
from probe.backbones.weights import WeightsLocation, require_weights
from probe.errors import UsageError, first_line, nearest, require_installed
from probe.precision import Precision
from probe.registry import load_own
from probe.source import code_of
from probe.validation import describe, parse_yaml

if TYPE_CHECKING:
    import torch

PACKAGES = {
    "built-in": ("numpy", "pillow", "scikit-image", "torchvision"),
    "open_clip": ("open_clip_torch", "pillow", "timm", "torch", "torchvision"),
    "timm": ("pillow", "timm", "torch", "torchvision"),
    "transformers": ("pillow", "torch", "torchvision", "transformers"),
}
EXTRA = "transformers"  # the one library that does not come with probe itself
OWN_PACKAGES = ("pillow", "torch", "torchvision")  # of an adapter of the user's own
WITH_OPTIONS = ("open_clip", "timm")
PREFIXES = {"open_clip": "open_clip", "timm": "timm", "hf": "transformers"}  # of names that need no row
# UniFEx's: it crops what it trains on and squashes what it searches, whatever the library does. Normalisation is the
# backbone's own. `inference` is the search view to the bit, resized as a tensor; `test` is resized by Pillow.
_VIEW = {"crop_pct": 1.0, "crop_offset": "round", "interpolation": "bicubic", "resampling": "pillow"}
VIEWS = {
    "train": _VIEW | {"resize": "shortest+crop"},
    "test": _VIEW | {"resize": "squash"},
    "inference": _VIEW | {"resize": "squash", "resampling": "tensor"},
}


@dataclass(frozen=True)
class Backbone:
    """A row, the name it goes by, the file it is written in (None: bundled), the weights file (None: the hub's), and
    how its pixels compared with the library's, where the row was made of a model of the hub."""

    name: str
    row: BackboneRow
    catalogue: Path | None = None
    weights: Path | None = None
    compared: PixelComparison | None = None

    @property
    def needs_weights(self) -> bool:
        return self.row.library != "built-in"

    @cached_property
    def weights_file(self) -> Path | None:
        """The file that will be loaded: the given one, or the hub's from the local cache or the network."""
        if not self.needs_weights or self.weights is not None:
            return self.weights
        if self.row.weights is not None:
            raise UsageError(
                f"the weights of '{self.name}' are not on the hub: name the file {self.row.weights} with --weights, or "
                "put it beside the catalogue."
            )
        repository = self.row.hub_repository
        if repository is None:
            raise UsageError(
                f"the backbone '{self.name}' names no hub repository; add `repository` to its row, or name a file "
                "with --weights."
            )
        return fetch(repository, self.row.hub_files, f"the weights of {self.name}", "name the file with --weights,")

    @property
    def weights_at_hand(self) -> Path | None:
        """The file that would be loaded without asking the network; None where there is none."""
        repository = self.row.hub_repository
        return self.weights or (cached(repository, self.row.hub_files) if repository else None)

    @property
    def weights_location(self) -> WeightsLocation | None:
        """Of the file that will be loaded; None where there are no weights."""
        if self.weights_file is None:
            return None
        return WeightsLocation.of(self.weights_file, None if self.weights else self.row.hub_repository)

    @cached_property
    def weights_sha256(self) -> str | None:
        """Digest of the weights file. Raises UsageError when the row asks for another one, ProbeError for a file that
        is plainly none."""
        if self.weights_file is None:
            return None
        require_weights(self.weights_file)
        with self.weights_file.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if self.row.sha256 not in (None, found):
            raise UsageError(
                f"{self.weights_file} has SHA-256 {found[:12]}…, and {self.name} needs {str(self.row.sha256)[:12]}…; "
                "name the right file with --weights."
            )
        return found

    def identity(self) -> dict[str, Any]:
        """What can be told of the spec without the weights at hand; a part of `spec()`."""
        row = self.row
        if row.library == "foreign":
            return {"provenance": row.library}
        backbone: dict[str, Any] = {"library": row.library, "model": row.model, "options": row.options}
        if ":" in row.library:
            backbone["code"] = _adapter_code(row.library)
        if self.needs_weights:
            backbone |= {"feature": row.feature, "prefix": row.prefix}
        if row.sha256:
            backbone["weights_sha256"] = row.sha256
        return {
            "backbone": backbone,
            "preprocessing": row.preprocessing | {"orientation": "exif", "transparency": "white", "16-bit": "scaled"},
        }

    def spec(self, dtype: str = "float16", precision: str = "fp32") -> dict[str, Any]:
        """Everything that decides the features, as JSON: the feature store's spec.

        `dtype` is how they are stored, `precision` (fp32, bf16 or fp16) how they are computed.
        """
        if self.row.library == "foreign":
            raise UsageError(
                f"the features of '{self.name}' were made elsewhere, and nobody here can extract more; import them: "
                f"probe cache import FILE --source SOURCE --name {self.row.model}"
            )
        spec = self.identity()
        spec["backbone"]["weights_sha256"] = self.weights_sha256
        computed_in = Precision(precision) if self.needs_weights else Precision.fp32
        if self.row.library == "built-in":
            from probe.backbones.descriptor import DESCRIPTOR_VERSION

            spec["backbone"]["version"] = DESCRIPTOR_VERSION
        _require_library(self.row.library)
        packages = {name: version(name) for name in PACKAGES.get(self.row.library, OWN_PACKAGES)}
        return spec | {"precision": computed_in.dtype_name, "dtype": dtype, "packages": packages}


def find_backbone(name: str, catalogue: Path | None = None, weights: Path | None = None) -> Backbone:
    """The backbone of that name: a row of the user's catalogue file, of the bundled one, or made from the library's
    own configuration for `open_clip:MODEL/TAG`, `timm:NAME` and `hf:REPOSITORY` or `hf:FOLDER`; of the first two
    with options of the library's constructor, as in `timm:NAME?pad_type=same&img_size=384`. `NAME@train`,
    `NAME@test` and `NAME@inference` are the same backbone with the preprocessing of that view; `foreign:NAME` are
    features that were imported.

    Raises UsageError for an unknown name (with the nearest known one) and for a weights file that is not there.
    """
    plain, _, view = name.rpartition("@")
    if plain and view in VIEWS:
        backbone = find_backbone(plain, catalogue, weights)
        if not backbone.needs_weights:
            raise UsageError(f"'{name}': {plain} sees every image in the same way; leave the view out.")
        return replace(backbone, name=name, row=backbone.row.model_copy(update=VIEWS[view]), compared=None)
    rows, own_rows = bundled_rows(), read_rows(catalogue) if catalogue else {}
    if weights is not None and not weights.is_file():
        raise UsageError(f"--weights {weights}: there is no such file.")
    prefix, _, model = name.partition(":")
    model, _, query = model.partition("?")
    if query and prefix not in WITH_OPTIONS:
        raise UsageError(f"'{name}': options behind a ? are for timm:NAME and open_clip:MODEL/TAG; write it a row.")
    if prefix == "foreign" and model:
        return Backbone(name, BackboneRow(library="foreign", model=model, px=1))
    if name in own_rows:
        backbone = Backbone(name, own_rows[name], catalogue, weights or _file_of(own_rows[name], catalogue))
    elif name in rows:
        backbone = Backbone(name, rows[name], weights=weights)
    elif model and prefix in PREFIXES:
        library = adapter(PREFIXES[prefix])
        if prefix == "hf":
            in_folder = library.folder_weights(model) if weights is None else None
            row, compared = library.compared_row(model)
            return Backbone(name, row, weights=weights or in_folder, compared=compared)
        row = library.row_of(model)
        row = row.model_copy(update={"options": row.options | _options(query, name)})
        backbone = Backbone(name, row, weights=weights)
    else:
        raise UsageError(
            f"unknown backbone '{name}'; {nearest(name, rows | own_rows)} `probe backbones` lists them; any other "
            "model is timm:NAME, open_clip:MODEL/TAG or hf:REPOSITORY."
        )
    if weights is not None and not backbone.needs_weights:
        raise UsageError(f"--weights: the backbone '{name}' has no weights; leave it out.")
    return backbone


def all_backbones(catalogue: Path | None = None) -> list[Backbone]:
    """Those of the user's catalogue file, then the bundled ones that it does not replace."""
    own = read_rows(catalogue) if catalogue else {}
    bundled = {name: row for name, row in bundled_rows().items() if name not in own}
    return [Backbone(name, row, catalogue, _file_of(row, catalogue)) for name, row in own.items()] + [
        Backbone(name, row) for name, row in bundled.items()
    ]


def _file_of(row: BackboneRow, catalogue: Path | None) -> Path | None:
    """The checkpoint that the row names, where it lies beside the catalogue or in the current folder."""
    if row.weights is None:
        return None
    folders = [catalogue.parent, Path()] if catalogue else [Path()]
    files = [folder / Path(row.weights).expanduser() for folder in folders]
    return next((file for file in files if file.is_file()), None)


def _options(query: str, name: str) -> dict[str, Any]:
    """`pad_type=same&img_size=384`, each value as YAML."""
    found = {}
    for setting in query.split("&") if query else []:
        key, equals, value = setting.partition("=")
        if not (key.isidentifier() and equals and value):
            raise UsageError(f"'{name}': '{setting}' is no option; write NAME=VALUE, joined by &.")
        found[key] = parse_yaml(value)
    return found


class Adapter(Protocol):
    """What makes a library's models, or a user's own: a module of this package, or a class that a row names."""

    def build(self, row: BackboneRow, weights: Path | None) -> "torch.nn.Module":
        """Normalised images (B, 3, px, px) -> the row's feature (B, D); random weights where no file is given."""
        ...


def adapter(library: str) -> Any:
    """The adapter of a library; imported only now. Raises UsageError for a user's own without `build`, and for a
    library that is not installed."""
    _require_library(library)
    if ":" not in library:
        return import_module(f"probe.backbones.{library}")
    found = load_own("library", library)
    if not callable(getattr(found, "build", None)):
        raise UsageError(
            f"library '{library}' has no `build(row, weights)`, which makes the model (docs/backbones.md)."
        )
    return found() if isinstance(found, type) else found


def _require_library(library: str) -> None:
    if library == EXTRA:
        require_installed(library, EXTRA, "a backbone of transformers")


def _adapter_code(library: str) -> str | dict[str, str]:
    """Digest of the source of a user's own adapter, which decides the features; by file where it imports others beside
    it."""
    digests = code_of([load_own("library", library).__module__], of_probe=lambda module: False)
    return next(iter(digests.values())) if len(digests) == 1 else digests


@cache
def bundled_rows() -> dict[str, BackboneRow]:
    return parse_rows(parse_yaml(files("probe.backbones").joinpath("catalogue.yaml").read_text()), "the catalogue")


def read_rows(path: Path) -> dict[str, BackboneRow]:
    """The `backbones:` section of a YAML file (a catalogue or a recipe)."""
    require_regular(path)
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--catalogue {path} cannot be read: {first_line(error)}.") from error
    if not isinstance(content, dict) or not isinstance(content.get("backbones"), dict):
        raise UsageError(f"--catalogue {path} has no `backbones:` section; see probe/backbones/catalogue.yaml.")
    return parse_rows(content, str(path))


def parse_rows(content: dict[str, Any], where: str) -> dict[str, BackboneRow]:
    rows = {}
    for name, fields in content["backbones"].items():
        try:
            rows[name] = BackboneRow.model_validate(fields)
        except ValidationError as error:
            raise UsageError(f"{where}: backbone '{name}': {describe(error, BackboneRow)}") from error
    return rows
