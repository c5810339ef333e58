"""Scoring a finished run's head on other data, or on another split: `probe evaluate`.

rescore(read_run(path), features, split="test", folder=workspace.evaluations, device_choice="auto")
"""

import shutil
from pathlib import Path
from typing import Any

from feature_cache import fingerprint
from probe.device import choose_device
from probe.extract.features import CachedFeatures
from probe.fit.run import FinishedRun, read_metrics, write_json
from probe.progress import say


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
    temporary = path.with_name(f".{path.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    evaluation.per_query.write_parquet(temporary / "per_query.parquet")
    write_json(temporary / "metrics.json", evaluation.summary)
    temporary.rename(path)
