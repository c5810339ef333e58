"""Scoring finished heads, one or several as one, on other data, or on another split: `probe evaluate`.

runs = [read_run(path)]
features = features_for(runs, "pocket", "test", workspace)
rescore(runs, features, "test", None, workspace.evaluations, device_choice="auto")
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import yaml

from feature_cache import fingerprint
from probe.data.manifest import Manifest
from probe.data.resolve import resolve_data
from probe.device import choose_device
from probe.errors import UsageError
from probe.extract.features import CachedFeatures
from probe.extract.selection import Selection
from probe.extract.stores import MissingFeaturesError
from probe.fit.run import FinishedRun, appearing, read_metrics, write_json
from probe.progress import say
from probe.workspace import Workspace

if TYPE_CHECKING:
    import torch

Combination = Literal["soup", "ensemble"]


def features_for(runs: Sequence[FinishedRun], data: str, split: str, workspace: Workspace) -> list[CachedFeatures]:
    """For each run, a split of other data, its features made by what made the run's; runs with the same share them.

    Raises UsageError with the commands to run first.
    """
    manifest = resolve_data(data, workspace.data_root)
    found: dict[str, CachedFeatures] = {}
    missing: dict[str, str] = {}
    commands: list[str] = []
    for run in runs:
        try:
            found[_features_key(run)] = found.get(_features_key(run)) or _features(run, manifest, split, workspace)
        except MissingFeaturesError as error:
            commands += [_command(name, run, data, workspace) for name in error.missing if name not in missing]
            missing |= error.missing
    if missing:
        raise UsageError(f"{' '.join(missing.values())} First run: {'; '.join(commands)}")
    return [found[_features_key(run)] for run in runs]


def rescore(
    runs: Sequence[FinishedRun],
    features: Sequence[CachedFeatures],
    split: str,
    combine: Combination | None,
    folder: Path,
    device_choice: str,
) -> tuple[Path, dict[str, Any]]:
    """Where the result lies, and the summary; what was scored before is read, not computed again.

    `features`: of each run. Raises UsageError for several runs without a `combine`, and for one run with it.
    """
    if len(runs) > 1 and combine is None:
        raise UsageError("several runs: say how to combine them, with --combine soup or --combine ensemble.")
    if combine and len({run.key for run in runs}) < max(2, len(runs)):
        raise UsageError(f"--combine {combine} is for several different runs; name each once.")
    in_order = sorted(zip(runs, features, strict=True), key=lambda pair: pair[0].key)
    config = {
        "runs": [{"name": run.path.name, "key": run.key} for run, _ in in_order],
        "combine": combine,
        "split": split,
        "inputs": [each.identity for _, each in in_order],
    }
    key = fingerprint(config | {"runs": [run.key for run, _ in in_order]})
    name = f"{combine}-of-{len(runs)}" if combine else runs[0].path.name
    path = folder / f"{name}_{split}_{key[:12]}"
    if not (path / "metrics.json").exists():
        _score(in_order, split, combine, config, path, device_choice)
    return path, read_metrics(path)


def _score(
    runs: Sequence[tuple[FinishedRun, CachedFeatures]],
    split: str,
    combine: Combination | None,
    config: dict[str, Any],
    path: Path,
    device_choice: str,
) -> None:
    from probe.retrieval.evaluation import evaluate
    from probe.retrieval.summary import PER_QUERY

    device, reason = choose_device(device_choice)
    say(f"evaluate on {device.type} ({reason})")
    frame, embeddings = _embedded(runs, split, combine, device)
    evaluation = evaluate(frame, embeddings)
    with appearing(path) as folder:
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        for index, queries in evaluation.per_query.items():
            queries.write_parquet(folder / PER_QUERY[index])
        write_json(folder / "metrics.json", evaluation.summary)


def _embedded(
    runs: Sequence[tuple[FinishedRun, CachedFeatures]], split: str, combine: Combination | None, device: "torch.device"
) -> tuple[pl.DataFrame, "torch.Tensor"]:
    """The rows that all runs have features of, and their (N, d) embeddings."""
    from probe.fit.combine import ensemble, soup
    from probe.fit.embedding import embed
    from probe.fit.placement import SplitRows
    from probe.heads.build import load_head

    left_out = pl.concat([features.left_out for _, features in runs])
    frame = runs[0][1].frame(split).join(left_out, on=left_out.columns, how="anti", maintain_order="left")
    if combine == "soup":
        head = soup([run for run, _ in runs], device)
        return frame, embed(head, SplitRows(runs[0][1], frame, "store", device))
    parts = []
    for run, features in runs:
        head = load_head(run.config.head, run.path / "head.safetensors", run.dim, device)
        parts.append(embed(head, SplitRows(features, frame, "store", device)))
    return frame, ensemble(parts) if combine else parts[0]


def _features_key(run: FinishedRun) -> str:
    return fingerprint([run.config.model_dump(mode="json", include=set(Selection.model_fields)), run.spec])


def _features(run: FinishedRun, manifest: Manifest, split: str, workspace: Workspace) -> CachedFeatures:
    return CachedFeatures(manifest, run.config, run.spec, workspace, [split])


def _command(backbone: str, run: FinishedRun, data: str, workspace: Workspace) -> str:
    """What brings a backbone's features of the data."""
    spec = run.spec[backbone]
    if "backbone" not in spec:
        return "probe cache import (see docs/store.md)"
    words = ["probe", "extract", data, "--backbone", backbone, *workspace.options("data_root", "cache")]
    also = "" if spec["backbone"]["library"] == "built-in" else " (with the run's --catalogue and --weights)"
    return shlex.join(words) + also
