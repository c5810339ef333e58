"""A row of the catalogue: what a backbone is, as data.

BackboneRow(library="timm", model="resnet50.a1_in1k", px=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""

from importlib import import_module
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from feature_cache import Spec
from probe.errors import UsageError, nearest
from probe.validation import Strict

Triple = tuple[float, float, float]
LIBRARIES = ("built-in", "open_clip", "timm", "transformers", "foreign")  # foreign: imported, made elsewhere


def _known(library: str) -> str:
    if library not in LIBRARIES and ":" not in library:
        raise ValueError(f"there is no library '{library}'; {nearest(library, LIBRARIES).rstrip('.')}")
    return library


Library = Annotated[str, AfterValidator(_known)]
"""One of LIBRARIES, or an adapter of the user's own by `package.module:Class` (docs/backbones.md)."""
Feature = Literal["pooled", "pre-projection", "projected", "pre-neck", "gem", "flattened", "cls", "mean"]
Offset = Literal["round", "floor"]

# What a row without `px` takes from the library's own configuration of the model.
PIXELS = ("px", "resize", "crop_pct", "crop_offset", "interpolation", "resampling", "mean", "std")
# What the libraries call the files of a hub repository, the safer format first.
FILES = {
    "open_clip": ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    "timm": ("model.safetensors", "pytorch_model.bin"),
    "transformers": ("model.safetensors", "pytorch_model.bin"),
}
OFFSETS: dict[str, Offset] = {"transformers": "floor"}  # the other libraries crop by torchvision, which rounds


class BackboneRow(Strict):
    """One row of the catalogue.

    `model`: timm's `name.tag`, open_clip's `MODEL/TAG`, or a hub repository with a transformers model. `px`: input
    width and height; without it, it and all else that decides the pixels and that the row does not say is what the
    library or the hub has for the model. `resize`: `shortest+crop` scales the shorter side to `px / crop_pct` and crops
    the centre, `squash` scales both sides to `px / crop_pct`. `crop_offset`: what half of an odd margin becomes;
    `round`, as torchvision does, the even neighbour (3 / 2 is 2), `floor` (3 / 2 is 1); None, as the row's library
    does. `resampling`: `pillow` clamps and rounds to 8 bits after either of its two passes, `tensor`, torchvision's on
    tensors, in float32 and once. `mean`, `std`: per channel, of values in 0..1.

    `feature`: `pooled`, what the model pools by itself (class token, average, attention), before any classifier;
    `pre-projection`, the same where CLIP's projection is cut off; `projected`, with the projection; `cls`, the class
    token of the last layer; `mean`, that of its tokens; `pre-neck`, the average before SAM's neck; `gem`,
    generalised-mean pooling with exponent 3; `flattened`, the last map averaged to 2 x 2 and laid in a row, channel
    after channel.

    `dim`: length of the feature. `params`: parameters of what computes the feature, exactly: with the projection where
    the feature is projected, without it where it is not. `gflops`: billions of operations of the forward pass of one
    image, a multiply-add as two; times are estimated by it. `family`, `papers`: its name there, and the rows that use
    it. `options`: passed to the library's constructor; for transformers, the model's configuration.

    `repository`, `file`: where the hub has the weights, if not at the library's usual place. `prefix`: what the keys of
    the image tower begin with in a checkpoint that holds more. `weights`: the checkpoint, where the hub has none: a
    file beside the catalogue or in the current folder, or the name of what has to be given with `--weights`; `sha256`:
    its digest, where only one file is right.
    """

    library: Library
    model: str
    px: PositiveInt
    feature: Feature = "pooled"
    dim: PositiveInt | None = None
    params: PositiveInt | None = None
    gflops: PositiveFloat | None = None
    family: str = ""
    papers: tuple[str, ...] = ()
    resize: Literal["shortest+crop", "squash"] = "shortest+crop"
    crop_pct: Annotated[float, Field(gt=0, le=1)] = 1.0
    crop_offset: Offset | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    resampling: Literal["pillow", "tensor"] = "pillow"
    mean: Triple = (0.5, 0.5, 0.5)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.5, 0.5, 0.5)
    options: dict[str, Any] = Field(default_factory=dict)
    repository: str | None = None
    file: str | None = None
    prefix: str | None = None
    weights: str | None = None
    sha256: str | None = None
    about: str = ""

    @model_validator(mode="before")
    @classmethod
    def _pixels_of_the_library(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "px" in given or given.get("library") not in FILES or "model" not in given:
            return given
        try:
            known = import_module(f"probe.backbones.{given['library']}").row_of(given["model"])
        except UsageError as error:
            raise ValueError(f"`px` is missing, and {error}") from error
        return known.model_dump(include=set(PIXELS)) | given

    @classmethod
    def catalogue_schema(cls) -> dict[str, Any]:
        """The JSON schema of a file with a `backbones:` section of such rows, for editors."""
        row = cls.model_json_schema()
        row["required"].remove("px")
        row["properties"]["library"] = {"anyOf": [{"enum": list(LIBRARIES)}, {"type": "string", "pattern": ":"}]}
        return {
            "title": "A catalogue of backbones of probe",
            "type": "object",
            "properties": {"backbones": {"type": "object", "additionalProperties": row}},
            "required": ["backbones"],
        }

    @classmethod
    def of_spec(cls, spec: Spec) -> Self:
        """The row whose features a spec describes. Raises ValidationError for a spec that no row has."""
        fields = cls.model_fields
        of_backbone = {key: value for key, value in spec.get("backbone", {}).items() if key in fields}
        of_pixels = {key: value for key, value in spec.get("preprocessing", {}).items() if key in fields}
        return cls.model_validate({"crop_offset": "round"} | of_backbone | of_pixels)

    @property
    def scaled(self) -> int:
        """Length in pixels of the sides that are scaled, before the crop."""
        return int(self.px / self.crop_pct)

    @property
    def offset(self) -> Offset:
        """The row's `crop_offset`, or its library's."""
        return self.crop_offset or OFFSETS.get(self.library, "round")

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What decides the pixels, as JSON: a part of the feature store's spec.

        Stores are older than `crop_offset` and `resampling`: both are told only where pixels are others for them.
        """
        told = self.model_dump(include={"px", "resize", "crop_pct", "interpolation"})
        told |= {"mean": list(self.mean), "std": list(self.std)}
        if self.offset == "floor" and (self.resize == "shortest+crop" or self.scaled != self.px):
            told["crop_offset"] = self.offset
        if self.resampling == "tensor":
            told["resampling"] = self.resampling
        return told

    @property
    def hub_repository(self) -> str | None:
        """The hub's repository with the weights; None for weights that are not on the hub."""
        if self.weights is not None or self.library == "built-in":
            return None
        if self.library == "timm" and "." in self.model:  # without a tag, the name is not the repository's
            return self.repository or f"timm/{self.model}"
        return self.repository or (self.model if self.library == "transformers" else None)

    @property
    def hub_files(self) -> tuple[str, ...]:
        """The names that the file may have there."""
        return (self.file,) if self.file else FILES.get(self.library, FILES["timm"])
