"""How sure the numbers of a table are: bootstrap intervals, and which rows are not significantly worse than the best.

Made of the per-query values of finished runs. Where these are missing or damaged, a note says so, and the row has no
interval and no mark. The answer is kept in a file, with a digest of the runs' files, because the draws take a while.

found = compare_rows({"ArcFace": [run.path], "Softmax": [other.path]}, "ArcFace", "mMP@5", "merged")
found.tied                                  # {"Softmax"}
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from feature_cache import fingerprint
from probe.errors import UsageError
from probe.metrics import (
    Interval,
    QueryValues,
    assembled,
    averaged,
    holm,
    pairwise_p,
    require_same_queries,
    value_intervals,
)
from probe.runs import ScoredFolder
from probe.storage import write_whole

SeedFolders = Path | dict[str, Path]  # a run's folder, or each domain's specialist's
RESAMPLES = 1_000  # of a table, whose rows are many; `probe compare` and `probe evaluate` draw more
FLIPS = 2_000
FLIPS_PER_ROW = 200  # at least, so that the smallest p is below LEVEL after Holm's factor too
LEVEL = 0.05
VERSION = 3  # of the file; raise it when `compare_rows` gives other answers than before


@dataclass(frozen=True)
class Significance:
    """Of one metric in one index."""

    intervals: dict[str, dict[str, Interval]]
    """Of 95 %, as fractions, by row and column."""
    tied: set[str]
    """Rows whose mean does not differ significantly from the best."""
    notes: list[str]
    """Rows that could not be compared, and why."""
    p: dict[str, float] = field(default_factory=dict)
    """Of each other row's mean against the best, by Holm over all of them."""
    pairs: dict[str, dict[str, float]] = field(default_factory=dict)
    """By row, what `p` is for the best."""


def cached_comparison(
    file: Path, rows: Mapping[str, Sequence[SeedFolders]], best: str, metric: str, index: str
) -> Significance:
    """As `compare_rows`; read from `file` where that was made of the same files, else computed and written there."""
    draws = [RESAMPLES, FLIPS, FLIPS_PER_ROW, LEVEL]
    seeds = [[row, [seed_files(seed, index) for seed in seeds]] for row, seeds in rows.items()]
    key = fingerprint({"version": VERSION, "draws": draws, "rows": seeds, "asked": [best, metric, index]})
    found = _read(file, key)
    if found is None:
        found = compare_rows(rows, best, metric, index)
        _write(file, key, found)
    return found


def compare_rows(rows: Mapping[str, Sequence[SeedFolders]], best: str, metric: str, index: str) -> Significance:
    """Compares every row with the best one. `rows`: each row's finished seeds, at least one; they are averaged query by
    query."""
    intervals: dict[str, dict[str, Interval]] = {}
    differences: dict[str, np.ndarray] = {}
    notes = []
    top: QueryValues | None = None
    for row in sorted(rows, key=lambda row: row != best):  # the best first
        try:
            scores = averaged([seed_values(seed, metric, index) for seed in rows[row]])
            intervals[row] = value_intervals(scores, RESAMPLES)
            if row == best:
                top = scores
            elif top:
                require_same_queries(top, scores)
                differences[row] = top.values - scores.values
        except UsageError as error:
            subject = "no row is" if row == best else f"row '{row}' is not"
            notes.append(f"{subject} compared with the best, '{best}': {error}")
    pairs = _adjusted_p(best, top, differences) if top and differences else {}
    p = pairs.get(best, {})
    return Significance(intervals, {row for row, of_row in p.items() if of_row >= LEVEL}, notes, p, pairs)


def _adjusted_p(best: str, top: QueryValues, differences: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Of each row's balanced mean against each other's, by Holm over all that are compared with the same."""
    draws = max(FLIPS, FLIPS_PER_ROW * len(differences))
    columns = np.stack(list(differences.values()), axis=1)
    p = pairwise_p(top, columns, draws, np.random.default_rng(0))
    rows = [best, *differences]
    return {
        row: dict(zip(rows[:i] + rows[i + 1 :], holm(np.delete(p[i], i)).tolist(), strict=True))
        for i, row in enumerate(rows)
    }


def seed_values(seed: SeedFolders, metric: str, index: str) -> QueryValues:
    """Query by query; of specialists, each query's own. Raises UsageError as ScoredFolder does."""
    if isinstance(seed, Path):
        return ScoredFolder(seed).values(index, metric)
    return assembled({domain: ScoredFolder(folder).values(index, metric) for domain, folder in seed.items()})


def seed_files(seed: SeedFolders, index: str) -> list[Any]:
    """The identity of a seed's per-query files."""
    folders = {"": seed} if isinstance(seed, Path) else seed
    return [[domain, str(folder.absolute()), ScoredFolder(folder).version(index)] for domain, folder in folders.items()]


def _read(file: Path, key: str) -> Significance | None:
    """None where the file is of other runs, or damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["key"] != key or content.pop("digest") != fingerprint(content):
            return None
        intervals = {
            row: {column: (low, high) for column, (low, high) in of_row.items()}
            for row, of_row in content["intervals"].items()
        }
        return Significance(intervals, set(content["tied"]), content["notes"], content["p"], content["pairs"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(file: Path, key: str, found: Significance) -> None:
    content = {"key": key, **asdict(found), "tied": sorted(found.tied)}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(content | {"digest": fingerprint(content)}).encode())
