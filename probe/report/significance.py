"""What the differences within a table are worth: intervals of its numbers, and which rows the best is not told from.

Reads the per-query values that runs left; a row without them is said, and stands without interval and mark.

found = judge({"ArcFace": [run.path], "Softmax": [other.path]}, "ArcFace", "mMP@5", "merged")
found.tied                                  # {"Softmax"}
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from probe.errors import UsageError, first_line, nearest
from probe.metrics import (
    MEAN,
    Interval,
    QueryValues,
    assembled,
    averaged,
    metrics_of,
    permutation_p,
    require_same_queries,
    value_intervals,
)
from probe.metrics.scores import PER_QUERY

Seed = Path | dict[str, Path]  # a run's folder, or each domain's specialist's
RESAMPLES = 1_000  # of a table, whose rows are many; `probe compare` and `probe evaluate` draw more
FLIPS = 2_000
FLIPS_PER_ROW = 200  # at least, so that the smallest p is below LEVEL after Holm's factor too
LEVEL = 0.05


@dataclass(frozen=True)
class Significance:
    """Of one metric: `intervals[row][column]` as fractions, `tied` with the best row, and what could not be judged."""

    intervals: dict[str, dict[str, Interval]]
    tied: set[str]
    notes: list[str]


def judge(rows: Mapping[str, Sequence[Seed]], best: str, metric: str, index: str) -> Significance:
    """`rows`: each row's finished seeds, at least one; their values are averaged. A damaged file is a note."""
    intervals: dict[str, dict[str, Interval]] = {}
    differences: dict[str, np.ndarray] = {}
    notes = []
    top: QueryValues | None = None
    for row in sorted(rows, key=lambda row: row != best):  # the best first
        try:
            scores = averaged([_read_seed(seed, metric, index) for seed in rows[row]])
            intervals[row] = value_intervals(scores, RESAMPLES)
            if row == best:
                top = scores
            elif top:
                require_same_queries(top, scores)
                differences[row] = top.values - scores.values
        except UsageError as error:
            what = "no row is" if row == best else f"row '{row}' is not"
            notes.append(f"{what} compared with the best, '{best}': {error}")
    return Significance(intervals, _tied(top, differences) if top and differences else set(), notes)


def _read_seed(seed: Seed, metric: str, index: str) -> QueryValues:
    if isinstance(seed, Path):
        return read_scores(seed, metric, index)
    return assembled({domain: read_scores(folder, metric, index) for domain, folder in seed.items()})


def read_scores(folder: Path, metric: str, index: str) -> QueryValues:
    """The per-query values of a run or an evaluation. Raises UsageError where there are none, or not of this metric."""
    file = folder / PER_QUERY[index]
    if not (folder / "metrics.json").is_file():
        raise UsageError(f"{folder} is not a finished run; name folders that `probe fit` or `probe evaluate` made.")
    if not file.is_file():
        raise UsageError(f"{file} is not there: the {index} index was not scored, or the file was deleted.")
    try:
        known = metrics_of(list(pl.read_parquet_schema(file)))
        if metric not in known:
            raise UsageError(f"{file} has no values of '{metric}'; {nearest(metric, known)}")
        values = pl.read_parquet(file, columns=["source", "image", "domain", "label", "n", metric])
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UsageError(f"{file} cannot be read ({first_line(error)}); delete {folder} and make it again.") from error
    return QueryValues.of(folder.name, values, metric)


def _tied(best: QueryValues, differences: Mapping[str, np.ndarray]) -> set[str]:
    """The rows whose balanced mean is not told from the best's at LEVEL, by Holm over all of them."""
    draws = max(FLIPS, FLIPS_PER_ROW * len(differences))
    columns = np.stack(list(differences.values()), axis=1)
    adjusted = holm(permutation_p(best, columns, draws, np.random.default_rng(0))[MEAN])
    return {row for row, p in zip(differences, adjusted, strict=True) if p >= LEVEL}


def holm(p: np.ndarray) -> np.ndarray:
    """Adjusted p of m tests (Holm 1979): the smallest times m, the next times m - 1, and so on, never decreasing."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted
