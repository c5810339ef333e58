"""A row of the catalogue: what a backbone is, as data.

BackboneRow(library="timm", model="resnet50.a1_in1k", px=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from probe.validation import Strict

Triple = tuple[float, float, float]


class BackboneRow(Strict):
    """One row of the catalogue.

    `px`: input width and height. `resize`: `shortest+crop` scales the shorter side to `px / crop_pct` and crops the
    centre, `squash` scales both sides to `px`. `mean`, `std`: per channel, of values in 0..1. `options`: passed to the
    library's constructor. `weights`: name of the checkpoint that has to be given with `--weights`, where the library's
    hub has none; `sha256`: its digest, where only one file is right.
    """

    library: Literal["built-in", "timm"]
    model: str
    px: PositiveInt
    resize: Literal["shortest+crop", "squash"] = "shortest+crop"
    crop_pct: Annotated[float, Field(gt=0, le=1)] = 1.0
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mean: Triple = (0.5, 0.5, 0.5)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.5, 0.5, 0.5)
    options: dict[str, Any] = Field(default_factory=dict)
    weights: str | None = None
    sha256: str | None = None
    about: str = ""
