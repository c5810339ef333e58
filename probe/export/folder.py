"""Writes an exported folder: configuration, weights, model card, code for others, digests; verified before it appears.

export(Path("out/runs/..."), Path("embedder"), data_root=Path("data"))
"""

import json
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from probe.backbones import BackboneRow, ModuleEncoder
from probe.embed import (
    BACKBONE,
    CONFIG,
    HEAD,
    README,
    WEIGHTS,
    Embedder,
    ExportedConfig,
    ExportedFolder,
    Images,
    head_of,
    load,
)
from probe.errors import UsageError
from probe.export.card import Card, Verified
from probe.export.formats import Formats
from probe.export.loader import Loader
from probe.export.other_formats import write_formats
from probe.export.queries import QueryImages
from probe.export.verification import SAME, verification_images, verify
from probe.heads import Head, Normalize, SignedPower
from probe.runs import RunDirectory, seal
from probe.storage import new_folder

CPU = torch.device("cpu")
MODULE = "image_embedding"
MODULES = [{"idx": 0, "name": "0", "path": "", "type": f"{MODULE}.ImageEmbedding"}]
SENTENCE_TRANSFORMERS = {"model_type": "SentenceTransformer", "prompts": {}, "default_prompt_name": None}


def export(
    run: Path,
    folder: Path,
    *,
    data_root: Path,
    images: Images | None = None,
    weights: Path | None = None,
    license: str | None = None,
    formats: Formats | None = None,
) -> list[Verified]:
    """Writes `folder`, whole or not at all, and says how near each way to load it comes to the run.

    `images`: what to verify it on, instead of the run's queries, which are looked for where they lay and below
    `data_root`. `weights`: the backbone's, where they are not any more where they were. `license`: of the backbone, as
    the Hub writes it. `formats`: others, beside the folder's own files. Raises UsageError for what has no export and
    for a folder that is there; ProbeError where an export gives other embeddings than the run.
    """
    if formats:
        formats.require()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there; name another folder, or remove it first.")
    found = RunDirectory(run)
    found.require_done()
    if len(found.config.backbones) > 1 or found.config.append:
        raise UsageError(
            f"{run} reads {found.config.features_name}; what can be exported is one backbone, without image sizes: "
            "embed by the run itself (`probe embed`), or export one of a single backbone."
        )
    embedder = load(run, weights=weights, device="cpu", precision="fp32")
    seen = verification_images(found, images, data_root)
    with new_folder(folder) as temporary:
        queries = QueryImages.of_run(found, data_root) if formats and formats.int8 else None
        config, verified = write_verified(temporary, embedder, found.key, seen.pixels, formats, queries)
        card = Card(found, config, Loader(config), license, formats)
        (temporary / README).write_text(card.text(verified, seen.origin, len(seen.pixels)), encoding="utf-8")
        seal(temporary)
    return verified


def write_verified(
    folder: Path,
    embedder: Embedder,
    run: str,
    images: Sequence[Image.Image],
    formats: Formats | None = None,
    queries: QueryImages | None = None,
) -> tuple[ExportedConfig, list[Verified]]:
    """All but the README into an empty folder, each way to load it compared with the embedder; `run`: its key."""
    config, state = _content(embedder, run)
    loader, expected = Loader(config), embedder.encode(images)
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(f"{config.model_dump_json(indent=1)}\n", encoding="utf-8")
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)  # safetensors writes files for their owner alone
    (folder / f"{MODULE}.py").write_text(loader.module, encoding="utf-8")
    _write_json(folder / "modules.json", MODULES)
    options = SENTENCE_TRANSFORMERS | {"similarity_fn_name": config.distance}
    _write_json(folder / "config_sentence_transformers.json", options)
    seal(folder)
    verified = _verified(folder, loader, images, expected)
    if formats:
        encoder, head = _module_encoder(embedder), head_of(config, state)
        verified += write_formats(folder, formats, config, encoder, head, images, expected, queries)
    return config, verified


def _content(embedder: Embedder, run: str) -> tuple[ExportedConfig, dict[str, torch.Tensor]]:
    """What config.json says, and the tensors of the backbone and the head."""
    [backbone], encoder = embedder.backbones, _module_encoder(embedder)
    assert isinstance(embedder.head, Head), "a run has a head"
    layers = embedder.head.layers()
    if embedder.distance == "cosine" and not (layers and isinstance(layers[-1], Normalize)):
        layers = [*layers, Normalize()]
    config = ExportedConfig(
        name=backbone.name,
        backbone=backbone.row,
        weights_sha256=backbone.weights_sha256 or "",
        in_dim=encoder.dim,
        dim=embedder.dim,
        head=tuple(_step(layer) for layer in layers),
        distance=embedder.distance,
        run=run,
        preprocess_cfg=preprocess_cfg(backbone.row),
        pretrained_cfg=pretrained_cfg(backbone.row),
    )
    parts = {BACKBONE: encoder.module, HEAD: torch.nn.Sequential(*layers)}
    return config, {
        f"{prefix}{key}": value.detach().clone().contiguous()
        for prefix, part in parts.items()
        for key, value in part.state_dict().items()
    }


def _step(layer: torch.nn.Module) -> Literal["linear", "normalize"] | float:
    if isinstance(layer, SignedPower):
        return layer.exponent
    return "normalize" if isinstance(layer, Normalize) else "linear"


def _module_encoder(embedder: Embedder) -> ModuleEncoder:
    """Raises UsageError for the built-in descriptor."""
    [encoder] = embedder.encoders
    if not isinstance(encoder, ModuleEncoder):
        raise UsageError(
            f"the run reads the built-in {embedder.backbones[0].name}, which is no PyTorch module; export a run on "
            "another backbone."
        )
    return encoder


def _verified(folder: Path, loader: Loader, images: Sequence[Image.Image], expected: np.ndarray) -> list[Verified]:
    """Each way to load the folder, run."""
    names: dict[str, Any] = {}
    with chdir(folder):
        exec(loader.script, names)
    module: dict[str, Any] = {}
    exec(loader.module, module)
    for_sentences = module["ImageEmbedding"](folder).eval()
    with torch.inference_mode():
        of_module = for_sentences(for_sentences.preprocess(images))["sentence_embedding"]
    ways = {
        "`probe.load`": ExportedFolder(folder).embedder(CPU).encode(images),
        f"PyTorch and {loader.config.backbone.library}, as above": names["embed"](images).numpy(),
        "sentence-transformers' module": of_module.numpy(),
    }
    return [Verified(what, verify(what, expected, found, SAME)) for what, found in ways.items()]


def preprocess_cfg(row: BackboneRow) -> dict[str, Any]:
    """As open_clip writes it: its PreprocessCfg."""
    return {
        "size": row.px,
        "mode": "RGB",
        "mean": list(row.mean),
        "std": list(row.std),
        "interpolation": row.interpolation,
        "resize_mode": "squash" if row.resize == "squash" else "shortest",
        "fill_color": 0,
    }


def pretrained_cfg(row: BackboneRow) -> dict[str, Any]:
    """As timm writes it."""
    architecture, _, tag = row.model.partition(".")
    return {
        "architecture": architecture,
        "tag": tag,
        "num_classes": 0,
        "input_size": [3, row.px, row.px],
        "interpolation": row.interpolation,
        "crop_pct": row.crop_pct,
        "crop_mode": "squash" if row.resize == "squash" else "center",
        "mean": list(row.mean),
        "std": list(row.std),
    }


def _write_json(file: Path, content: Any) -> None:
    file.write_text(f"{json.dumps(content, indent=1)}\n", encoding="utf-8")
