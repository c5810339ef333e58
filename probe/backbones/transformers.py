"""The transformers adapter: the image tower of any model with native code (remote code is never run).

The feature is the tower's `pooler_output` (`pooled`, or `pre-projection` where a projection follows it), else the
last layer's class token (`cls`), else the mean of its tokens (`mean`), as I-JEPA has it. Preprocessing is read from the
repository's preprocessor_config.json, and tried on pictures of odd sizes, where the row has to give the pixels of the
library's own processor. A model that gives other features the second time is refused.

    module = build(row, Path("model.safetensors"))      # (B, 3, px, px) -> (B, D)
"""

import inspect
import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModel

from probe.backbones.checkpoint import read_state, report_differences
from probe.backbones.comparison import PixelComparison
from probe.backbones.hub import fetch
from probe.backbones.plain import PlainCode
from probe.backbones.preprocessing import Preprocessing
from probe.backbones.row import FILES, BackboneRow
from probe.errors import UsageError, first_line

FEATURES = ("pooled", "pre-projection", "cls", "mean")
CLASS_TOKEN = re.compile(r"(?:^|[._])(?:cls|class)_(?:token|embed)")
# Entries of a config.json that do not shape the image tower.
ASIDE = ("_name_or_path", "architectures", "dtype", "id2label", "label2id", "num_labels", "transformers_version")
# Entries of a preprocessor_config.json that rows can say, or that do nothing to the pixels of an RGB image.
SAID = (
    *("image_processor_type", "feature_extractor_type", "processor_class", "do_convert_rgb", "data_format"),
    *("size", "crop_size", "do_resize", "do_center_crop", "do_rescale", "do_normalize", "image_mean", "image_std"),
    *("resample", "default_to_square"),
)
ODD_SIZES = ((97, 60), (61, 133), (37, 41))  # width and height
NEAR = 1.5 / 255  # where the library has no version of the processor with Pillow, and does not round


def row_of(name: str) -> BackboneRow:
    """The row of a hub repository, or of a folder with the same files, by its configuration files."""
    return compared_row(name)[0]


def compared_row(name: str) -> tuple[BackboneRow, PixelComparison]:
    """`row_of`, and how its pixels compare with those of the library's processor: they are the same, or UsageError."""
    folder = Path(name)
    local = folder.is_dir()
    config = _config(name, folder if local else _hub_folder(name, "config.json"))
    processor = _processor(name, folder if local else _hub_folder(name, "preprocessor_config.json"))
    tower = getattr(config, "vision_config", config)
    options = json.loads(tower.to_json_string(use_diff=True))
    row = BackboneRow(
        library="transformers",
        model=folder.resolve().name if local else name,
        feature="pooled" if tower is config else "pre-projection",
        options={key: value for key, value in options.items() if key not in ASIDE},
        weights=FILES["transformers"][0] if local else None,
        **_preprocessing(name, processor),
    )
    compared = _compare_pixels(name, row, processor)
    return row.model_copy(update={"feature": _feature(row, config.architectures or [])}), compared


def folder_weights(name: str) -> Path | None:
    """The weights file in the folder that `hf:` names; None for a hub repository. Raises UsageError without one."""
    folder = Path(name)
    if not folder.is_dir():
        return None
    found = next((folder / file for file in FILES["transformers"] if (folder / file).is_file()), None)
    if found is None:
        raise UsageError(
            f"hf:{name} has no {' or '.join(FILES['transformers'])}; weights in several shards have to be merged "
            "into one file, named with --weights."
        )
    return found


def _hub_folder(repository: str, file: str) -> Path:
    instead = f"name the folder that holds {file} and the weights with `--backbone hf:FOLDER`,"
    return fetch(repository, (file,), f"the configuration and weights of hf:{repository}", instead).parent


def _config(name: str, folder: Path) -> Any:
    try:
        config = json.loads((folder / "config.json").read_text())
        if "model_type" not in config or "auto_map" in config:
            raise UsageError(f"hf:{name} brings code of its own, which is never run; only native models are supported.")
        if config["model_type"] == "timm_wrapper":
            raise UsageError(f"hf:{name} is timm's {config['architecture']}; name it timm:{config['architecture']}.")
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"hf:{name}: its config.json cannot be used: {first_line(error)}.") from error


def _processor(name: str, folder: Path) -> Any:
    transformers.logging.set_verbosity_error()  # a processor without a version with Pillow is another one, and fine
    try:
        return AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"hf:{name}: its preprocessor_config.json cannot be used: {first_line(error)}; write it a catalogue row."
        ) from error


def _preprocessing(name: str, processor: Any) -> dict[str, Any]:
    """The row's fields; refuses what no row can say."""
    size = dict(getattr(processor, "size", None) or {})
    if type(processor).__name__.startswith("Levit") and "shortest_edge" in size:
        size["shortest_edge"] = int(size["shortest_edge"] * 256 / 224)  # which is in its code
    sides = {key: value for key, value in size.items() if value is not None}
    crop = dict(processor.crop_size or {}).get("height") if getattr(processor, "do_center_crop", False) else None
    names = {2: "bilinear", 3: "bicubic"}
    steps = ("do_resize", "do_rescale", "do_normalize")
    plain = all(getattr(processor, step, False) for step in steps) and processor.resample in names
    if plain and set(sides) == {"height", "width"} and sides["height"] == sides["width"] and crop is None:
        shape = {"px": sides["height"], "resize": "squash"}
    elif plain and set(sides) == {"shortest_edge"} and crop is not None and crop <= sides["shortest_edge"]:
        shape = {"px": crop, "resize": "shortest+crop", "crop_pct": _share(crop, sides["shortest_edge"])}
    else:
        raise UsageError(f"hf:{name}: no row can say what its {type(processor).__name__} does with {sides}.")
    mean, std = processor.image_mean, processor.image_std
    return shape | {"interpolation": names[processor.resample], "mean": mean, "std": std}


def _compare_pixels(name: str, row: BackboneRow, processor: Any) -> PixelComparison:
    """Raises UsageError unless pictures' pixels are the processor's: some pad, cut tiles or scale in their code."""
    difference = max(_difference(row, processor, *size) for size in ODD_SIZES)
    if difference > (0.01 / 255 if type(processor).__name__.endswith("Pil") else NEAR):
        unsaid = [key for key, value in processor.to_dict().items() if key not in SAID and value]
        if abs(processor.rescale_factor - 1 / 255) < 1e-9:
            unsaid.remove("rescale_factor")
        also = f" (it has {', '.join(unsaid)}, too)" if unsaid else ""
        raise UsageError(
            f"hf:{name}: its {type(processor).__name__} gives other pixels than a row can say{also}; write it a "
            "catalogue row."
        )
    return PixelComparison(
        processor=type(processor).__name__,
        library=f"transformers {transformers.__version__}",
        sizes=ODD_SIZES,
        largest_difference=round(255 * difference, 4),
    )


def _difference(row: BackboneRow, processor: Any, width: int, height: int) -> float:
    """The largest one between the pixels of the row and of the processor for a picture of this size, 1 being white."""
    y, x = np.mgrid[:height, :width] / max(width, height)
    noise = np.random.default_rng(0).integers(0, 128, (height, width, 3))
    picture = Image.fromarray((127 * np.stack([x, y, (x + y) % 1], axis=2) + noise).astype(np.uint8))
    file = BytesIO()
    picture.save(file, "PNG")
    ours = torch.from_numpy(Preprocessing(row)(file)[0].copy()).permute(2, 0, 1) / 255  # (3, px, px)
    try:
        theirs = torch.as_tensor(np.asarray(processor(picture, return_tensors="pt")["pixel_values"]))[0]
        theirs = theirs * torch.tensor(row.std).view(3, 1, 1) + torch.tensor(row.mean).view(3, 1, 1)
    except Exception:  # processors raise anything on what is not theirs
        return float("inf")
    return float((theirs - ours).abs().max()) if theirs.shape == ours.shape else float("inf")


def _share(px: int, side: int) -> float:
    """The `crop_pct` with which `px` comes from exactly `side`, whatever the division rounds to."""
    share = px / side
    return share if int(px / share) == side else px / (side + 0.5)


def _feature(row: BackboneRow, architectures: list[str]) -> str:
    """Which of FEATURES the model has. The pooled output only where the checkpoint has its weights; those of a
    classifier lack them."""
    with torch.device("meta"):
        model = _model(row)
        output = _output(model, torch.zeros(1, 3, row.px, row.px), row)
    learned = any(key.startswith("pooler.") for key in model.state_dict())
    whole = row.feature == "pre-projection" or type(model).__name__ in architectures
    if getattr(output, "pooler_output", None) is not None and (whole or not learned):
        return str(row.feature)
    if output.last_hidden_state.ndim != 3:
        raise UsageError(f"transformers' {row.model} ends in no tokens and pools none; no row can say what to take.")
    return "cls" if any(CLASS_TOKEN.search(key) for key in model.state_dict()) else "mean"


def _output(model: Any, images: torch.Tensor, row: BackboneRow) -> Any:
    """What the model gives for images (B, 3, px, px). Raises UsageError where it takes none, or none of that size."""
    try:
        return model(pixel_values=images)
    except (TypeError, ValueError, RuntimeError) as error:
        if "pixel_values" not in inspect.signature(model.forward).parameters:
            raise UsageError(
                f"transformers' {row.model} is a {type(model).__name__}, which takes no images; name a model that does."
            ) from error
        raise UsageError(
            f"transformers' {row.model} ({type(model).__name__}) does not take images of {row.px} x {row.px} pixels: "
            f"{first_line(error)}."
        ) from error


def build(row: BackboneRow, weights: Path | None) -> torch.nn.Module:
    """Images (B, 3, px, px) -> the row's feature (B, D); random weights where no file is given."""
    if row.feature not in FEATURES:
        raise UsageError(f"transformers' {row.model} has no feature '{row.feature}'; there are {', '.join(FEATURES)}.")
    model = _model(row) if weights is None else _loaded(row, weights)
    if row.feature in ("cls", "mean") and hasattr(model, "pooler"):
        model.pooler = None
    module = _Feature(model, row)
    if weights is not None:
        _require_same_twice(module, row)
    return module


def _require_same_twice(module: torch.nn.Module, row: BackboneRow) -> None:
    """Raises UsageError for a model that draws random numbers, as those do that mask patches."""
    image = torch.rand(1, 3, row.px, row.px, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        if not torch.equal(module(image), module(image)):
            raise UsageError(
                f"transformers' {row.model} gives other features each time, as models do that mask patches at random; "
                "take the encoder alone, such as timm's."
            )


def plain_code(row: BackboneRow) -> PlainCode:
    """What `build` makes."""
    options = ", ".join(f"{name}={value!r}" for name, value in row.options.items())
    made = [f"backbone = AutoModel.from_config(AutoConfig.for_model({options}))"]
    features = "backbone(pixel_values=images).pooler_output.flatten(1)"
    if row.feature == "cls":
        made.append("backbone.pooler = None")
        features = "backbone(pixel_values=images).last_hidden_state[:, 0]"
    return PlainCode("from transformers import AutoConfig, AutoModel", made, features, prefix="model.")


def _model(row: BackboneRow) -> Any:
    try:
        return AutoModel.from_config(AutoConfig.for_model(**row.options)).eval()
    except (TypeError, ValueError, KeyError) as error:
        raise UsageError(
            f"transformers cannot make {row.model} from its options, which are its config.json's: {first_line(error)}."
        ) from error


def _loaded(row: BackboneRow, weights: Path) -> Any:
    """The model with the file's weights, keys renamed by the library where their names have changed."""
    with torch.device("meta"):
        model = _model(row)
    state = read_state(weights, row.prefix)
    for tower in ("vision_model.", f"{model.base_model_prefix}."):  # beside it lie text towers and classifiers
        if any(key.startswith(tower) for key in state):
            state = {key: value for key, value in state.items() if key.startswith(tower)}
    transformers.logging.set_verbosity_error()  # what did not match is reported below
    transformers.logging.disable_progress_bar()
    model, report = type(model).from_pretrained(
        None, config=model.config, state_dict=state, output_loading_info=True, ignore_mismatched_sizes=True
    )
    shapes = [f"{key} is {tuple(found)}, not {tuple(wanted)}" for key, found, wanted in report["mismatched_keys"]]
    unused = "pooler." if row.feature in ("cls", "mean") else ()
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(unused))
    report_differences(weights, missing, sorted(report["unexpected_keys"]), sorted(shapes))
    return model


class _Feature(torch.nn.Module):
    def __init__(self, model: Any, row: BackboneRow) -> None:
        super().__init__()
        self.model, self.row = model, row

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output = _output(self.model, images, self.row)
        if self.row.feature == "cls":
            return output.last_hidden_state[:, 0]  # (B, tokens, D) -> (B, D)
        if self.row.feature == "mean":
            return output.last_hidden_state.mean(dim=1)
        pooled = getattr(output, "pooler_output", None)
        if pooled is None:
            raise UsageError(f"transformers' {self.row.model} has no pooled output; its feature is `cls`.")
        return pooled.flatten(1)
