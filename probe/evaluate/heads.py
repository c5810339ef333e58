"""Scoring finished heads, one or several as one, on other data, or on another split: `probe evaluate`.

runs = [RunDirectory(path)]
features = features_for(runs, "pocket", "test", workspace)
source = head_source(runs, features, "test", None, "auto")
evaluate_once(source, EvaluationSettings(split="test", distance=distance_of(runs)), workspace.evaluations).scores
"""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import polars as pl

from feature_cache import fingerprint
from probe.data import Manifest, resolve_data
from probe.device import choose_device
from probe.errors import UsageError
from probe.evaluate.folder import EmbeddingSource
from probe.extract import CachedFeatures, MissingFeaturesError, Selection
from probe.progress import say
from probe.runs import RunDirectory, modules_of
from probe.search import Distance
from probe.workspace import Workspace

if TYPE_CHECKING:
    import torch

Combination = Literal["soup", "ensemble"]
EMBEDDING = "probe.fit.embedding"
COMBINATION = "probe.evaluate.combination"


def features_for(runs: Sequence[RunDirectory], data: str, split: str, workspace: Workspace) -> list[CachedFeatures]:
    """For each run, a split of other data, its features made by what made the run's; runs with the same share them.

    Raises UsageError for an unfinished run, and with the commands to run first.
    """
    for run in runs:
        run.require_done()
    manifest = resolve_data(data, workspace.data_root, datasets=workspace.datasets)
    found: dict[str, CachedFeatures] = {}
    missing: dict[str, str] = {}
    commands: list[str] = []
    for run in runs:
        try:
            found[_features_key(run)] = found.get(_features_key(run)) or _features(run, manifest, split, workspace)
        except MissingFeaturesError as error:
            part = None if manifest.frame["split"].n_unique() == 1 else split
            new = [name for name in error.missing if name not in missing]
            commands += [_command(name, run, data, part, workspace) for name in new]
            missing |= error.missing
    if missing:
        raise UsageError(f"{' '.join(missing.values())} First run: {'; '.join(commands)}")
    return [found[_features_key(run)] for run in runs]


def head_source(
    runs: Sequence[RunDirectory],
    features: Sequence[CachedFeatures],
    split: str,
    combine: Combination | None,
    device_choice: str,
) -> EmbeddingSource:
    """One run, or several as one, to be scored on its `features` (those of each run).

    Raises UsageError for several runs without a `combine`, and for one run with it.
    """
    if len(runs) > 1 and combine is None:
        raise UsageError("several runs: say how to combine them, with --combine soup or --combine ensemble.")
    if combine and len({run.key for run in runs}) < max(2, len(runs)):
        raise UsageError(f"--combine {combine} is for several different runs; name each once.")
    in_order = sorted(zip(runs, features, strict=True), key=lambda pair: pair[0].key)
    modules = {EMBEDDING, COMBINATION} if combine else {EMBEDDING}
    inputs = {"combine": combine, "inputs": [each.identity for _, each in in_order]}

    def embed() -> "tuple[pl.DataFrame, torch.Tensor]":
        device, reason = choose_device(device_choice)
        say(f"evaluate on {device.type} ({reason})")
        for each in {id(each): each for each in features}.values():
            if remark := each.constants.remark:
                say(f"{each.selection.features_name}: {remark}")
        return _embedded(in_order, split, combine, device)

    return EmbeddingSource(
        f"{combine}-of-{len(runs)}" if combine else runs[0].name,
        f"{combine} of {len(runs)} runs" if combine else runs[0].name,
        {"runs": [{"name": run.name, "key": run.key} for run, _ in in_order], **inputs},
        {"runs": [run.key for run, _ in in_order], **inputs},
        embed,
        frozenset(modules.union(*(modules_of(run.config.head) for run in runs))),
    )


def distance_of(runs: Sequence[RunDirectory]) -> Distance:
    """By which the runs were scored. Raises UsageError where they differ."""
    distances: set[Distance] = {run.config.distance for run in runs}
    if len(distances) > 1:
        raise UsageError("some of the runs go by cosine and some by Euclidean distance; choose with --distance.")
    return distances.pop()


def _embedded(
    runs: Sequence[tuple[RunDirectory, CachedFeatures]], split: str, combine: Combination | None, device: "torch.device"
) -> tuple[pl.DataFrame, "torch.Tensor"]:
    """The rows that all runs have features of, and their (N, d) embeddings."""
    from probe.evaluate.combination import ensemble, soup
    from probe.fit import SplitRows, embed

    left_out = pl.concat([features.left_out for _, features in runs])
    frame = runs[0][1].frame(split).join(left_out, on=left_out.columns, how="anti", maintain_order="left")
    if combine == "soup":
        head = soup([run for run, _ in runs], device)
        return frame, embed(head, SplitRows(runs[0][1], frame, "store", device))
    parts = []
    for run, features in runs:
        parts.append(embed(run.head(device), SplitRows(features, frame, "store", device)))
    return frame, ensemble(parts) if combine else parts[0]


def _features_key(run: RunDirectory) -> str:
    return fingerprint([run.config.model_dump(mode="json", include=set(Selection.model_fields)), run.features.spec])


def _features(run: RunDirectory, manifest: Manifest, split: str, workspace: Workspace) -> CachedFeatures:
    return CachedFeatures(manifest, run.config, run.features.spec, workspace, [split])


def _command(backbone: str, run: RunDirectory, data: str, split: str | None, workspace: Workspace) -> str:
    """What brings a backbone's features of the data, or of one split of them."""
    spec = run.features.spec[backbone]
    if "backbone" not in spec:
        return "probe cache import (see docs/store.md)"
    words = ["probe", "extract", data, "--backbone", backbone, *(["--split", split] if split else [])]
    words += workspace.options("data_root", "cache")
    also = "" if spec["backbone"]["library"] == "built-in" else " (with the run's --catalogue and --weights)"
    return shlex.join(words) + also
