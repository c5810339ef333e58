"""One run, as a recipe's row and seed make it: features extracted if need be, a head fitted and scored.

run = fit("photos/")                        # the best head for these classes, on the built-in descriptor
run = fit("photos/", backbone="descriptor", head=heads.Linear(dim=64), loss=losses.ArcFace(), seed=0)
run.scores.test.of("clean", "merged").mean["R@1"]
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import torch
from pydantic import ValidationError

from probe.backbones import find_backbone
from probe.data import SPLITS, HuggingFaceData, Manifest, is_hugging_face, write_data_set
from probe.device import choose_device
from probe.errors import UsageError
from probe.extract import CachedFeatures, Settings, extract_sources
from probe.fit import ClosedFormConfig, TrainedConfig, Training, is_closed_form, read_run_config, spanned_dimensions
from probe.heads import Auto, ClosedFormHead, Head, PCAWhitening
from probe.losses import Loss
from probe.planning import Inputs
from probe.progress import say
from probe.recipes import PrintedRelation, Row
from probe.runs import Run, RunDirectory, sweep
from probe.search import Distance
from probe.validation import describe
from probe.workspace import Workspace

EPOCHS = 10  # UniFEx's
BACKBONE = "descriptor"  # the one that needs no weights
CLASSES = 4  # with fewer, none or one is left to be scored on
SURE = 40  # with fewer, ten or fewer are scored on
DIM = 64


def fit(
    images: str | Path | HuggingFaceData,
    backbone: str | None = None,
    head: Head.Config | None = None,
    loss: Loss.Config | None = None,
    *,
    training: Training | Mapping[str, Any] | None = None,
    seed: int = 0,
    distance: Distance = "cosine",
    weights: str | Path | None = None,
    catalogue: str | Path | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    cache: str | Path | None = None,
    out: str | Path | None = None,
) -> RunDirectory:
    """The finished run of a head on a backbone's features, below `out`; one that is there already is not fitted again.

    `images`: as for `extract`; classes are the subfolders, or as the manifest says. `backbone`: by default the built-in
    `descriptor`, which needs no weights and is worse than any other. `head`, `loss`: configurations,
    `heads.Linear(dim=64)`, `losses.ArcFace(margin=0.4)`; a head in closed form needs no loss. Without a head it is
    `auto`, which chooses by the training classes, and where there are fewer than four classes PCA-whitening of all
    images, without scores; how the classes divide is said. So is a head in closed form that is named, where there are
    fewer than four classes or no test images, and a trained head is refused there. `training`: the section of that name
    in a recipe, by default UniFEx's for 10 epochs. Where the images have no validation split, a tenth of the training
    classes is drawn. Raises UsageError for a configuration of no run, SweepError for a run that failed.
    """
    workspace = Workspace.named(data_root, cache, out)
    inputs = Inputs(workspace)
    choose_device(device)
    _require_kinds(images, head, loss)
    if training is not None and loss is None:
        raise UsageError("`training` is of a head that is trained; give it a `loss` too, or leave it out.")
    images = write_data_set(images, workspace.data_root) if is_hugging_face(images) else images
    data, backbone = inputs.data(str(images)), backbone or BACKBONE
    given: dict[str, Any] = {"backbone": backbone, "head": head, "seed": seed, "distance": distance}
    if loss is not None:
        given |= {"loss": loss, "training": training or {"epochs": EPOCHS}}
    elif head is None:
        given |= _default(data)
    if head is not None and (few := _few_to_score(data)):
        if not isinstance(head, ClosedFormHead.Config) or head.chosen:
            raise UsageError(f"{few}; add classes, or name a head in closed form, which is fitted without scores.")
        say(f"{few}: all images are fitted to, without scores")
        given |= {"unscored": True}
    try:
        config = read_run_config(given)
    except ValidationError as error:
        raise UsageError(describe(error, ClosedFormConfig if is_closed_form(given) else TrainedConfig)) from error
    chosen = find_backbone(backbone, *(Path(file) if file else None for file in (catalogue, weights)))
    if isinstance(config, ClosedFormConfig) and config.unscored:
        manifest = _all_for_training(data)
    else:
        manifest = inputs.rows_of(str(images), Row("fit", [chosen], [config], PrintedRelation()))
    extract_sources([manifest], chosen, workspace, Settings(), device)
    features = inputs.features(manifest, config, {chosen.name: chosen.identity()})
    if isinstance(config, ClosedFormConfig) and config.unscored:
        config = _within(config, features)
    run = Run(config, features.identity, workspace.runs, data=manifest.name)
    sweep([(run, features)], device)
    return run.directory


def _require_kinds(images: object, head: object, loss: object) -> None:
    """Raises UsageError for what is none."""
    if not isinstance(images, str | Path) and not is_hugging_face(images):
        raise UsageError(f"images are of type {type(images).__name__}; name a folder, a manifest or a known data set.")
    if head is not None and not isinstance(head, Head.Config):
        raise UsageError(f"head is {head!r}; name one of probe.heads, such as probe.heads.PCAWhitening(dim=64).")
    if loss is not None and not isinstance(loss, Loss.Config):
        raise UsageError(f"loss is {loss!r}; name one of probe.losses, such as probe.losses.ArcFace().")
    if loss is not None and head is None:
        raise UsageError("a loss trains a head; name one, such as probe.heads.Linear(dim=64), or leave the loss out.")


def _default(manifest: Manifest) -> dict[str, Any]:
    """The keys of a run where no head is named, said with the reason."""
    classes = manifest.frame.select("split", "domain", "label").unique()
    count = classes.select("domain", "label").n_unique()
    of_split = {split: classes.filter(split=split).height for split in SPLITS}
    divided = (
        f"{count} classes: {of_split['train']} to train on, {of_split['val']} for validation, {of_split['test']} to be "
        "scored on"
    )
    if count >= CLASSES:
        say(f"{divided}{'' if count >= SURE else f'; so few say little of others, {SURE} or more would'}")
        return {"head": Auto.Config()}
    images = manifest.frame.select("source", "image").n_unique()
    what = "one class, or none" if count == 1 else divided
    say(
        f"{what}, and scores need {CLASSES}, each a subfolder or a label of a manifest.csv: PCA-whitening of all "
        f"{images:,} images, which needs none, without scores"
    )
    if images < 2:
        raise UsageError(f"{manifest.where} has one image, of which nothing can be fitted; add more.")
    return {"head": PCAWhitening.Config(dim=min(DIM, images - 1)), "unscored": True}


def _few_to_score(manifest: Manifest) -> str | None:
    """What is in the way of scores: of one class all images count, whatever a head makes of them."""
    classes = manifest.frame.select("domain", "label").n_unique()
    if classes >= CLASSES and "test" in manifest.splits:
        return None
    what = f"{classes} class{'es' if classes > 1 else ''}" if classes < CLASSES else "no test images"
    return f"{manifest.where} has {what}, and scores need {CLASSES}, some of them for the test"


def _within(config: ClosedFormConfig, features: CachedFeatures) -> ClosedFormConfig:
    """No more dimensions than the images span, some of which may be copies. Raises UsageError for one alone."""
    rows, asked = features.frame("train"), config.head.embedding_dim(features.dim)
    dim = spanned_dimensions(asked, len(rows), lambda: torch.from_numpy(features.load(rows)))
    if not dim:
        raise UsageError("all images have the same features, of which nothing can be fitted; add others.")
    if dim < asked:
        say(f"{dim} dimensions, which is all that {len(rows):,} images span")
    return config.model_copy(update={"head": config.head.model_copy(update={"dim": dim})})


def _all_for_training(manifest: Manifest) -> Manifest:
    """Each image once, all of them to fit a head on."""
    frame = manifest.frame.unique(("source", "image"), keep="first", maintain_order=True)
    frame = frame.with_columns(pl.lit("train").alias("split"), pl.lit("train").alias("role"))
    return Manifest(frame, manifest.roots, manifest.where, manifest.name)
