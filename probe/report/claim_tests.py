"""Paired tests of claims: p of differences, and of differences of gains, over the queries of finished runs.

Within one column, signs of the per-query values are flipped, as in all paired tests here. Gains in two domains are of
different queries: theirs are compared by Welch's test. The answers are kept in a file, with digests of the runs' files.

tests = ClaimTests(file)
tests.p([Combination((one,), (other,))], runs_of)     # [0.0005]
tests.write()
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from pydantic import TypeAdapter

from feature_cache import fingerprint
from probe.errors import UsageError
from probe.metrics import MEAN, QueryValues, averaged, permutation_p, require_same_queries
from probe.recipes import Combination, Operand
from probe.report.significance import FLIPS, SeedFolders, seed_files, seed_values
from probe.storage import write_whole

VERSION = 1  # of the file; raise it when other answers are given than before
KEPT = TypeAdapter(dict[str, list[float | None]])


class MeasuredRuns(NamedTuple):
    """Where the values of an operand are, query by query."""

    seeds: Sequence[SeedFolders]
    index: str
    metric: str
    domain: str
    """Or Mean."""


Find = Callable[[Operand], MeasuredRuns | None]


class ClaimTests:
    """The p of combinations of measured values, kept in a file. `notes` says what could not be compared, and why."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._kept = _read(file)
        self._asked: dict[str, list[float | None]] = {}
        self.notes: list[str] = []

    def p(self, of: Sequence[Combination], find: Find) -> list[float | None]:
        """Two-sided, that a combination is 0; None where it cannot be tested."""
        operands = dict.fromkeys(operand for each in of for side in each for operand in side)
        runs = {operand: found for operand in operands if (found := find(operand))}
        if len(runs) < len(operands):
            return [None] * len(of)
        sources = [
            [run.metric, run.index, run.domain, [seed_files(seed, run.index) for seed in run.seeds]]
            for run in runs.values()
        ]
        places = {operand: place for place, operand in enumerate(runs)}
        signs = [[[places[operand] for operand in side] for side in combination] for combination in of]
        key = fingerprint({"version": VERSION, "flips": FLIPS, "sources": sources, "signs": signs})
        if key not in self._asked:
            try:
                self._asked[key] = self._kept[key] if key in self._kept else _p(of, runs)
            except UsageError as error:
                self.notes.append(str(error))
                return [None] * len(of)
        return self._asked[key]

    def write(self) -> None:
        """What was asked for; the rest is of other runs."""
        if self._asked != self._kept:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._file, KEPT.dump_json(self._asked))


def _p(of: Sequence[Combination], runs: dict[Operand, MeasuredRuns]) -> list[float | None]:
    """Raises UsageError where queries differ, or a run's file is missing or damaged."""
    values: dict[Operand, np.ndarray] = {}
    queries: QueryValues | None = None
    for operand, run in runs.items():
        if (row := _whatever_column(operand)) not in values:
            found = averaged([seed_values(seed, run.metric, run.index) for seed in run.seeds])
            queries = queries or found
            require_same_queries(queries, found)
            values[row] = found.values
    if queries is None:
        return []
    sums = [_sums(combination, values, runs) for combination in of]
    within = [place for place, by_domain in enumerate(sums) if len(by_domain) == 1]
    p: list[float | None] = [_welch_p(by_domain, queries) for by_domain in sums]
    if within:
        differences = np.stack([value for place in within for value in sums[place].values()], axis=1)
        flipped = permutation_p(queries, differences, FLIPS, np.random.default_rng(0))
        for column, place in enumerate(within):
            [domain] = sums[place]
            p[place] = float(flipped[domain][column]) if domain in flipped else None
    return p


def _whatever_column(operand: Operand) -> Operand:
    return replace(operand, column=MEAN, printed_column=None)


def _sums(
    combination: Combination, values: dict[Operand, np.ndarray], runs: dict[Operand, MeasuredRuns]
) -> dict[str, np.ndarray]:
    """Of each domain, or the mean, that the combination has values of: (Q,) what each query adds to it."""
    sums: dict[str, np.ndarray] = {}
    for sign, side in zip((1, -1), combination, strict=True):
        for operand in side:
            signed = sign * values[_whatever_column(operand)]
            domain = runs[operand].domain
            sums[domain] = sums[domain] + signed if domain in sums else signed
    return sums


def _welch_p(sums: dict[str, np.ndarray], queries: QueryValues) -> float | None:
    """That means over the queries of several domains add up to 0, by the normal distribution; None with the balanced
    mean among them, which has queries of all, and where nothing varies."""
    if MEAN in sums:
        return None
    mean = variance = 0.0
    for domain, value in sums.items():
        of_domain = dict(queries.by_domain(value)).get(domain, np.empty(0))
        if len(of_domain) < 2:
            return None
        mean += of_domain.mean()
        variance += of_domain.var(ddof=1) / len(of_domain)
    return 2 * NormalDist().cdf(-abs(mean) / math.sqrt(variance)) if variance else None


def _read(file: Path) -> dict[str, list[float | None]]:
    """Nothing where it is missing or damaged."""
    try:
        return KEPT.validate_json(file.read_bytes())
    except (OSError, ValueError):
        return {}
