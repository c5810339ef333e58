"""What a table's differences are worth, judged once: the permutations of the same values need not be drawn again.

The answer is kept beside the table with a digest of what it was made of: which files, their sizes and times.

judged(tables / ".judged" / "quickstart-mMP@5-merged.json", rows, "ArcFace", "mMP@5", "merged")
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from feature_cache import fingerprint
from probe.report import significance
from probe.report.significance import Seed, Significance, judge
from probe.runs import ScoredFolder
from probe.storage import write_whole

VERSION = 1  # raise it when `judge` gives other answers than before


def judged(file: Path, rows: Mapping[str, Sequence[Seed]], best: str, metric: str, index: str) -> Significance:
    """As `judge`; read from `file` where it was judged before, else written there."""
    draws = [significance.RESAMPLES, significance.FLIPS, significance.FLIPS_PER_ROW, significance.LEVEL]
    seeds = [[row, [_files(seed, index) for seed in seeds]] for row, seeds in rows.items()]
    key = fingerprint({"version": VERSION, "draws": draws, "rows": seeds, "asked": [best, metric, index]})
    found = _read(file, key)
    if found is None:
        found = judge(rows, best, metric, index)
        _write(file, key, found)
    return found


def _files(seed: Seed, index: str) -> list[Any]:
    """What tells the values of a seed from others, and a file that is not there from one that is."""
    folders = {"": seed} if isinstance(seed, Path) else seed
    return [[domain, str(folder.absolute()), ScoredFolder(folder).version(index)] for domain, folder in folders.items()]


def _read(file: Path, key: str) -> Significance | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["key"] != key:
            return None
        intervals = {
            row: {column: (low, high) for column, (low, high) in of.items()} for row, of in content["intervals"].items()
        }
        return Significance(intervals, set(content["tied"]), content["notes"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(file: Path, key: str, found: Significance) -> None:
    content = {"key": key, "intervals": found.intervals, "tied": sorted(found.tied), "notes": found.notes}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(content).encode())
