"""`probe extract`: a frozen backbone's features of images, into the feature store.

probe extract sample --backbone descriptor
"""

from pathlib import Path
from typing import Annotated

import typer

from probe.commands.options import (
    DEFAULT,
    Cache,
    Catalogue,
    DataRoot,
    Datasets,
    Device,
    Out,
    Split,
    StoredAs,
    ViewChoice,
)
from probe.device import DeviceChoice
from probe.precision import PrecisionChoice
from probe.workspace import Workspace


def extract(
    data: Annotated[
        list[str],
        typer.Argument(metavar="DATA", help="Folders, manifest files, names below --data-root, or `sample`."),
    ],
    backbone: Annotated[str, typer.Option(help="A name that `probe backbones` lists, or timm:NAME and the like.")],
    weights: Annotated[
        Path | None, typer.Option(help="A local checkpoint (.safetensors, or .pt) instead of the hub's.")
    ] = None,
    catalogue: Catalogue = None,
    source_root: Annotated[
        list[str] | None, typer.Option(help="SOURCE=FOLDER: where a source's images lie; repeatable.")
    ] = None,
    views: Annotated[
        list[ViewChoice] | None,
        typer.Option(help="UniFEx's: train crops, test and inference squash. Stored as NAME@VIEW; repeatable."),
    ] = None,
    split: Annotated[
        list[Split] | None, typer.Option(help="Only images of this split; repeatable.", show_default="all")
    ] = None,
    val: Annotated[
        float | None,
        typer.Option(help="With --split: this share of the training classes is `val`, as `training.val` draws them."),
    ] = None,
    val_seed: Annotated[int, typer.Option(min=0, help="Which of them, as `training.val_seed`.")] = 0,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first N images of each source; the store says what it lacks.")
    ] = None,
    precision: Annotated[
        PrecisionChoice | None,
        typer.Option(
            help="Precision of the forward pass; auto takes what suits the device.", show_default="the store's, or fp32"
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images in a forward pass.")] = 64,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Decoding processes; 0 decodes in the main one.", show_default="by CPUs and device"),
    ] = None,
    part: Annotated[int, typer.Option(min=1, help="Images that a crash can cost at most, in whole batches.")] = 1024,
    dtype: Annotated[
        StoredAs | None, typer.Option(help="How features are stored.", show_default="the store's, or float16")
    ] = None,
    max_failures: Annotated[
        float, typer.Option(min=0, max=1, help="Share of undecodable images at which to stop.")
    ] = 0.01,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try undecodable images again.")] = False,
    device: Device = DeviceChoice.auto,
    data_root: DataRoot = DEFAULT.data_root,
    datasets: Datasets = None,
    cache: Cache = DEFAULT.cache,
    out: Out = DEFAULT.out,
) -> None:
    """Put a frozen backbone's features of all images of DATA, or of some splits, into the feature store.

    Each image is seen once: what is stored already is skipped, and an interrupted extraction goes on where it stopped.
    """
    from probe.backbones import find_backbone
    from probe.data import draw_validation, resolve_data, source_roots
    from probe.errors import UsageError
    from probe.extract import Settings, extract_sources

    if val is not None and not (split and 0 < val < 1):
        raise UsageError("--val is a share between 0 and 1, of classes that `--split val` extracts; add both.")
    splits = tuple(dict.fromkeys(each.value for each in split)) if split else None
    settings = Settings(batch, workers, part, dtype and dtype.value, max_failures, retry_failed, splits, limit)
    roots = source_roots(source_root or [])
    names = [f"{backbone}@{view}" for view in views] if views else [backbone]
    backbones = [find_backbone(name, catalogue, weights) for name in names]
    manifests = [resolve_data(name, data_root, roots, datasets) for name in data]  # which may build the sample
    manifests = [draw_validation(manifest, val, val_seed) for manifest in manifests] if val else manifests
    for chosen in backbones:
        extract_sources(manifests, chosen, Workspace(data_root, cache, out, datasets), settings, device, precision)
