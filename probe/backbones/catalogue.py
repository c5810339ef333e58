"""The catalogue: which backbones are known, each a row of data; and how a name becomes a backbone that can be loaded.

A backbone's spec (library, model, options, weights digest, preprocessing) decides its features; two backbones with
equal specs are the same, whatever they are called.

    backbone = find_backbone("mobilenetv1", catalogue=Path("recipes/pocket.yaml"), weights=Path("m.safetensors"))
    backbone.spec()
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from probe.backbones.row import BackboneRow
from probe.errors import UsageError, nearest
from probe.validation import describe

PACKAGES = {
    "built-in": ("numpy", "pillow", "scikit-image", "torchvision"),
    "timm": ("pillow", "timm", "torch", "torchvision"),
}


@dataclass(frozen=True)
class Backbone:
    """A row, the name it goes by, the file it is written in (None: bundled), the weights file (None: the hub's)."""

    name: str
    row: BackboneRow
    catalogue: Path | None = None
    weights: Path | None = None

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
                f"the backbone '{self.name}' has local weights: name the file {self.row.weights} with --weights."
            )
        from probe.backbones.timm import hub_weights

        return hub_weights(self.row.model)

    @cached_property
    def weights_sha256(self) -> str | None:
        """Digest of the weights file. Raises UsageError when the row asks for another one."""
        if self.weights_file is None:
            return None
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
        weights = {"weights_sha256": row.sha256} if row.sha256 else {}
        return {
            "backbone": {"library": row.library, "model": row.model, "options": row.options} | weights,
            "preprocessing": row.model_dump(include={"px", "resize", "crop_pct", "interpolation"})
            | {
                "mean": list(row.mean),
                "std": list(row.std),
                "orientation": "exif",
                "transparency": "white",
                "16-bit": "scaled",
            },
        }

    def spec(self, dtype: str = "float16") -> dict[str, Any]:
        """Everything that decides the features, as JSON: the feature store's spec."""
        spec = self.identity()
        spec["backbone"]["weights_sha256"] = self.weights_sha256
        if self.row.library == "built-in":
            from probe.backbones.descriptor import DESCRIPTOR_VERSION

            spec["backbone"]["version"] = DESCRIPTOR_VERSION
        packages = {name: version(name) for name in PACKAGES[self.row.library]}
        return spec | {"precision": "float32", "dtype": dtype, "packages": packages}


def find_backbone(name: str, catalogue: Path | None = None, weights: Path | None = None) -> Backbone:
    """The backbone of that name: a row of the user's catalogue file, of the bundled one, or `timm:NAME`.

    Raises UsageError for an unknown name (with the nearest known one) and for a weights file that is not there.
    """
    rows, own_rows = bundled_rows(), read_rows(catalogue) if catalogue else {}
    if weights is not None and not weights.is_file():
        raise UsageError(f"--weights {weights}: there is no such file.")
    if name in own_rows:
        backbone = Backbone(name, own_rows[name], catalogue, weights)
    elif name in rows:
        backbone = Backbone(name, rows[name], weights=weights)
    elif name.startswith("timm:"):
        from probe.backbones.timm import row_of

        backbone = Backbone(name, row_of(name.removeprefix("timm:")), weights=weights)
    else:
        raise UsageError(f"unknown backbone '{name}'; {nearest(name, rows | own_rows)} Any timm model is timm:NAME.")
    if weights is not None and not backbone.needs_weights:
        raise UsageError(f"--weights: the backbone '{name}' has no weights; leave it out.")
    return backbone


def bundled_rows() -> dict[str, BackboneRow]:
    return parse_rows(yaml.safe_load(files("probe.backbones").joinpath("catalogue.yaml").read_text()), "the catalogue")


def read_rows(path: Path) -> dict[str, BackboneRow]:
    """The `backbones:` section of a YAML file (a catalogue or a recipe)."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"--catalogue {path} cannot be read: {str(error).splitlines()[0]}.") from error
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
