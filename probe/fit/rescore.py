"""Scoring a finished run's head on other data, or on another split: `probe evaluate`.

run = read_run(path)
rescore(run, features_for(run, "pocket", workspace), "test", workspace.evaluations, device_choice="auto")
"""

import shlex
from pathlib import Path
from typing import Any

from feature_cache import fingerprint
from probe.data.resolve import resolve_data
from probe.device import choose_device
from probe.errors import UsageError
from probe.extract.features import CachedFeatures, MissingFeaturesError
from probe.fit.run import FinishedRun, appearing, read_metrics, write_json
from probe.progress import say
from probe.workspace import Workspace


def features_for(run: FinishedRun, data: str, workspace: Workspace) -> CachedFeatures:
    """Other data's features, made by what made the run's. Raises UsageError with the command to run first."""
    try:
        return CachedFeatures(resolve_data(data, workspace.data_root), run.config.backbone, run.spec, workspace)
    except MissingFeaturesError as error:
        if "backbone" not in run.spec:
            raise UsageError(f"{error} Import them: probe cache import (see docs/store.md).") from error
        words = ["probe", "extract", data, "--backbone", run.config.backbone, *workspace.options("data_root", "cache")]
        also = "" if run.spec["backbone"]["library"] == "built-in" else " (with the run's --catalogue and --weights)"
        raise UsageError(f"{error} First run: {shlex.join(words)}{also}") from error


def rescore(
    run: FinishedRun, features: CachedFeatures, split: str, folder: Path, device_choice: str
) -> tuple[Path, dict[str, Any]]:
    """Where the result lies, and the summary; what was scored before is read, not computed again."""
    key = fingerprint({"run": run.key, "inputs": features.identity, "split": split})
    path = folder / f"{run.path.name}_{split}_{key[:12]}"
    if not (path / "metrics.json").exists():
        _score(run, features, split, path, device_choice)
    return path, read_metrics(path)


def _score(run: FinishedRun, features: CachedFeatures, split: str, path: Path, device_choice: str) -> None:
    from probe.fit.embedding import score
    from probe.fit.placement import SplitRows
    from probe.heads.build import load_head

    device, reason = choose_device(device_choice)
    say(f"evaluate on {device.type} ({reason})")
    head = load_head(run.config.head, run.path / "head.safetensors", run.dim, device)
    evaluation = score(head, SplitRows(features, features.frame(split), "store", device))
    with appearing(path) as folder:
        evaluation.per_query.write_parquet(folder / "per_query.parquet")
        write_json(folder / "metrics.json", evaluation.summary)
