"""Scoring a finished run's head on other data, or on another split: `probe evaluate`.

run = read_run(path)
rescore(run, features_for(run, "pocket", "test", workspace), "test", workspace.evaluations, device_choice="auto")
"""

import shlex
from pathlib import Path
from typing import Any

from feature_cache import fingerprint
from probe.data.resolve import resolve_data
from probe.device import choose_device
from probe.errors import UsageError
from probe.extract.features import CachedFeatures
from probe.extract.stores import MissingFeaturesError
from probe.fit.run import FinishedRun, appearing, read_metrics, write_json
from probe.progress import say
from probe.workspace import Workspace


def features_for(run: FinishedRun, data: str, split: str, workspace: Workspace) -> CachedFeatures:
    """Other data's features of what made the run's. Raises UsageError with the commands to run first."""
    try:
        return CachedFeatures(resolve_data(data, workspace.data_root), run.config, run.spec, workspace, [split])
    except MissingFeaturesError as error:
        commands = "; ".join(_command(name, run, data, workspace) for name in error.missing)
        raise UsageError(f"{error} First run: {commands}") from error


def _command(backbone: str, run: FinishedRun, data: str, workspace: Workspace) -> str:
    """What brings a backbone's features of the data."""
    spec = run.spec[backbone]
    if "backbone" not in spec:
        return "probe cache import (see docs/store.md)"
    words = ["probe", "extract", data, "--backbone", backbone, *workspace.options("data_root", "cache")]
    also = "" if spec["backbone"]["library"] == "built-in" else " (with the run's --catalogue and --weights)"
    return shlex.join(words) + also


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
    from probe.fit.train import embed
    from probe.heads.build import load_head
    from probe.retrieval.evaluation import evaluate

    device, reason = choose_device(device_choice)
    say(f"evaluate on {device.type} ({reason})")
    rows = features.split(split)
    head = load_head(run.config.head, run.path / "head.safetensors", run.dim, device)
    evaluation = evaluate(rows.frame, embed(head, rows, device))
    with appearing(path) as folder:
        evaluation.per_query.write_parquet(folder / "per_query.parquet")
        write_json(folder / "metrics.json", evaluation.summary)
