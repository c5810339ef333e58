"""One run, as a recipe's row and seed make it: features extracted if need be, a head fitted and scored.

run = fit("photos/", backbone="descriptor", head=heads.Linear(dim=64), loss=losses.ArcFace(), seed=0)
run.scores.test.of("clean", "merged").mean["R@1"]
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from probe.backbones import find_backbone
from probe.data import HuggingFaceData, is_hugging_face, write_data_set
from probe.errors import UsageError
from probe.extract import Settings, extract_sources
from probe.fit import ClosedFormConfig, TrainedConfig, Training, is_closed_form, read_run_config
from probe.heads import Head
from probe.losses import Loss
from probe.planning import Inputs
from probe.recipes import PrintedRelation, Row
from probe.runs import Run, RunDirectory, sweep
from probe.search import Distance
from probe.validation import describe
from probe.workspace import Workspace

EPOCHS = 10  # UniFEx's


def fit(
    images: str | Path | HuggingFaceData,
    backbone: str,
    head: Head.Config,
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

    `images`: as for `extract`; classes are the subfolders, or as the manifest says. `head`, `loss`: configurations,
    `heads.Linear(dim=64)`, `losses.ArcFace(margin=0.4)`; a head in closed form needs no loss. `training`: the section
    of that name in a recipe, by default UniFEx's for 10 epochs. Where the images have no validation split, a tenth of
    the training classes is drawn. Raises UsageError for a configuration of no run, SweepError for a run that failed.
    """
    given = {"backbone": backbone, "head": head, "seed": seed, "distance": distance}
    if loss is not None:
        given |= {"loss": loss, "training": training or {"epochs": EPOCHS}}
    try:
        config = read_run_config(given)
    except ValidationError as error:
        raise UsageError(describe(error, ClosedFormConfig if is_closed_form(given) else TrainedConfig)) from error
    workspace = Workspace.named(data_root, cache, out)
    chosen = find_backbone(backbone, *(Path(file) if file else None for file in (catalogue, weights)))
    images = write_data_set(images, workspace.data_root) if is_hugging_face(images) else images
    inputs = Inputs(workspace)
    manifest = inputs.rows_of(str(images), Row("fit", [chosen], [config], PrintedRelation()))
    extract_sources([manifest], chosen, workspace, Settings(), device)
    features = inputs.features(manifest, config, {chosen.name: chosen.identity()})
    run = Run(config, features.identity, workspace.runs, data=manifest.name)
    sweep([(run, features)], device)
    return run.directory
