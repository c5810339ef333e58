"""Code that loads an exported folder without probe: some lines for its README, and a module for sentence-transformers.

Both are made of the same pieces, so that what one computes is what the other does.

    print(Loader(config).script)         # embed(images) -> (N, dim)
"""

from textwrap import indent

from probe.backbones import BackboneRow, PlainCode, plain_code
from probe.embed import BACKBONE, HEAD, WEIGHTS, ExportedConfig

LIBRARIES = {"open_clip": "open_clip_torch", "timm": "timm", "transformers": "transformers"}  # as PyPI has them

SCRIPT = """\
import torch
{imports}
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch.nn import functional as F
from torchvision import transforms as T

state = load_file("{weights}")
{backbone}
prepare = {prepare}

@torch.inference_mode()
def embed(images):
    images = torch.stack([prepare(ImageOps.exif_transpose(image).convert("RGB")) for image in images])
{head}
    return x
"""

MODULE = '''\
"""The exported embedder as a module of sentence-transformers; modules.json names it. It needs no probe."""

from pathlib import Path

import torch
{imports}
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch.nn import functional as F
from torchvision import transforms as T


class ImageEmbedding(torch.nn.Module):
    modalities = ["image"]
    forward_kwargs = set()

    def __init__(self, folder):
        super().__init__()
        state = load_file(Path(folder) / "{weights}")
{backbone}
        self.backbone = backbone
        self.head = torch.nn.ParameterDict({{key.replace(".", "_"): state[key] for key in {head_keys}}})
        self.requires_grad_(False)
        self.prepare = {prepare}

    @classmethod
    def load(cls, model_name_or_path, subfolder="", cache_folder=None, revision=None, local_files_only=False, **_):
        if Path(model_name_or_path).is_dir():
            return cls(Path(model_name_or_path) / subfolder)
        from huggingface_hub import snapshot_download

        options = {{"cache_dir": cache_folder, "revision": revision, "local_files_only": local_files_only}}
        return cls(snapshot_download(model_name_or_path, **options))

    def save(self, *_, **__):
        raise NotImplementedError("copy the folder that it was loaded from")

    def get_embedding_dimension(self):
        return {dim}

    def preprocess(self, inputs, prompt=None, **_):
        opened = [each if isinstance(each, Image.Image) else Image.open(each) for each in inputs]
        upright = [ImageOps.exif_transpose(each).convert("RGB") for each in opened]
        return {{"images": torch.stack([self.prepare(each) for each in upright])}}

    def forward(self, features, **_):
        backbone, state = self.backbone, {{key.replace("_", "."): value for key, value in self.head.items()}}
        images = features["images"]
{head}
        features["sentence_embedding"] = x
        return features
'''


class Loader:
    """Of one exported folder."""

    def __init__(self, config: ExportedConfig) -> None:
        """Raises UsageError for a backbone that nothing but probe makes."""
        self.config = config
        self.code: PlainCode = plain_code(config.backbone)

    @property
    def packages(self) -> list[str]:
        """What it needs, as PyPI has them."""
        return ["torch", "torchvision", LIBRARIES[self.config.backbone.library], "safetensors"]

    @property
    def script(self) -> str:
        """Python that defines `embed`: a list of PIL images -> (N, dim) tensor; run in the folder."""
        return SCRIPT.format(
            imports=self.code.imports,
            weights=WEIGHTS,
            backbone="\n".join(self._backbone),
            prepare=preparation(self.config.backbone),
            head=indent("\n".join(self._embedding), "    "),
        )

    @property
    def module(self) -> str:
        """The source of a module for sentence-transformers: the class ImageEmbedding."""
        linear = [number for number, kind in enumerate(self.config.head) if kind == "linear"]
        return MODULE.format(
            imports=self.code.imports,
            weights=WEIGHTS,
            backbone=indent("\n".join(self._backbone), " " * 8),
            head_keys=[f"{HEAD}{number}.{part}" for number in linear for part in ("weight", "bias")],
            prepare=preparation(self.config.backbone),
            dim=self.config.dim,
            head=indent("\n".join(self._embedding), " " * 8),
        )

    @property
    def _backbone(self) -> list[str]:
        prefix = f"{BACKBONE}{self.code.prefix}"
        weights = f"key[{len(prefix)}:]: value for key, value in state.items() if key.startswith({prefix!r})"
        return [*self.code.backbone, f"backbone.eval().load_state_dict({{{weights}}})"]

    @property
    def _embedding(self) -> list[str]:
        """Statements, from `images` to the embeddings `x`."""
        steps = [f"x = {self.code.features}"]
        for number, kind in enumerate(self.config.head):
            if kind == "linear":
                steps.append(f'x = F.linear(x, state["{HEAD}{number}.weight"], state["{HEAD}{number}.bias"])')
            else:
                steps.append("x = F.normalize(x)" if kind == "normalize" else f"x = x.sign() * x.abs() ** {kind}")
        return steps


def preparation(row: BackboneRow) -> str:
    """An expression for the transform of the row: RGB image -> (3, px, px), normalised."""
    size = [row.scaled, row.scaled] if row.resize == "squash" else row.scaled
    resize = f"T.Resize({size}, T.InterpolationMode.{row.interpolation.upper()})"
    on_tensors = row.resampling == "tensor"
    crop = [_crop(row, on_tensors)] if row.resize == "shortest+crop" or row.scaled != row.px else []
    if on_tensors:
        steps = ["T.PILToTensor()", resize, *crop, "T.ConvertImageDtype(torch.float)"]
    else:
        steps = [resize, *crop, "T.ToTensor()"]
    return f"T.Compose([{', '.join(steps)}, T.Normalize({row.mean}, {row.std})])"


def _crop(row: BackboneRow, on_tensors: bool) -> str:
    if row.offset == "round":
        return f"T.CenterCrop({row.px})"
    first, end = (f"(side {sign} {row.px}) // 2" for sign in "-+")
    if on_tensors:
        return f"T.Lambda(lambda image: image[:, *(slice({first}, {end}) for side in image.shape[1:])])"
    return f"T.Lambda(lambda image: image.crop([*({first} for side in image.size), *({end} for side in image.size)]))"
