"""How sure a number is: bootstrap intervals over queries, and paired comparison of two runs on the same queries.

Values are joined by query (source, image, domain, label), never by position; the order of a file's rows changes no
bit. Queries with nothing to find are left out. What varies is the sample of queries: trained heads are as they are.

    intervals(per_query, "mMP@5")["Mean"]                                                # (0.671, 0.702)
    compare(QueryValues.of("a", one, "R@1"), QueryValues.of("b", other, "R@1"))["Mean"].p          # 0.0312
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import polars as pl

from probe.errors import UsageError, nearest
from probe.metrics.metric import metrics_of
from probe.metrics.scores import MEAN

QUERY = ("source", "image", "domain", "label")
COVERED = 0.95
DRAWS = 10_000
DISTINCT = 128  # values of a domain that are drawn as they are; where there are more, they are grouped
BITS = 1 << 22  # sign flips at a time
AND = "\x1f"  # between a query's labels in its key
ROUNDING = 1e-10  # of the sum of all differences: sums that are equal but for rounding are equal

Interval = tuple[float, float]
Number = TypeVar("Number", float, np.ndarray)


@dataclass(frozen=True)
class QueryValues:
    """One metric of one run, or of several seeds averaged: a value a query, in the order of the queries' keys."""

    name: str
    """The run's, for messages."""
    keys: pl.Series
    """(Q,) strings, which tell the queries of a split apart."""
    domains: pl.Series
    """(Q,) strings."""
    n: pl.Series
    """(Q,) how many images there are to find."""
    values: np.ndarray
    """(Q,) float64 in [0, 1], NaN where there is nothing to find."""

    @classmethod
    def of(cls, name: str, per_query: pl.DataFrame, metric: str) -> "QueryValues":
        """`per_query`: as an evaluation has it. Raises UsageError for an unknown metric and for a query that is twice
        there."""
        known = metrics_of(per_query.columns)
        if metric not in known:
            raise UsageError(f"{name} has no values of '{metric}'; {nearest(metric, known)}")
        rows = per_query.select(_key(per_query.schema).alias("key"), "domain", "n", metric).sort("key")
        keys = rows["key"]
        if len(keys) > 1 and (twice := keys.filter(keys == keys.shift())).len():
            raise UsageError(f"{name} has {len(twice):,} queries more than once: {_shown(twice)}.")
        return cls(name, keys, rows["domain"], rows["n"], rows[metric].cast(pl.Float64).to_numpy())

    def means(self) -> dict[str, float]:
        """Of each domain, and Mean."""
        return _with_mean({domain: _mean(values) for domain, values in self.by_domain(self.values)})

    def by_domain(self, values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Domains in order, with `values` (Q, ...) of those queries that have something to find."""
        scored = ~np.isnan(self.values)
        for domain in self.domains.unique().sort():
            rows = (self.domains == domain).to_numpy() & scored
            if rows.any():
                yield domain, values[rows]


@dataclass(frozen=True)
class PairedDifference:
    """Of two runs' means."""

    first: float
    second: float
    difference: float
    """first - second."""
    interval: Interval
    """Of the difference, at 95 %."""
    p: float
    """Two-sided."""
    p_holm: float
    """Corrected over the domains, which are several tests; of the mean, its own."""


def intervals(per_query: pl.DataFrame, metric: str, draws: int = DRAWS, seed: int = 0) -> dict[str, Interval]:
    """The 95 % bootstrap interval of each domain's mean, and of the balanced mean under `Mean`; fractions."""
    return value_intervals(QueryValues.of("the evaluation", per_query, metric), draws, seed)


def value_intervals(of: QueryValues, draws: int = DRAWS, seed: int = 0) -> dict[str, Interval]:
    """As `intervals`, of values that may be several seeds' average."""
    return _intervals(of.by_domain(of.values), draws, np.random.default_rng(seed))


def assembled(specialists: Mapping[str, QueryValues]) -> QueryValues:
    """One run out of a specialist a domain, each for the queries of its own. Raises UsageError when queries differ."""
    first = next(iter(specialists.values()))
    values = np.full(len(first.values), np.nan)
    for domain, own_values in specialists.items():
        require_same_queries(first, own_values)
        own = (first.domains == domain).to_numpy()
        values[own] = own_values.values[own]
    return replace(first, values=values)


def averaged(seeds: Sequence[QueryValues], name: str | None = None) -> QueryValues:
    """One run out of several on the same queries: each query's value is its mean over them.

    Raises UsageError when their queries differ.
    """
    first = seeds[0]
    for other in seeds[1:]:
        require_same_queries(first, other)
    values = np.mean([seed.values for seed in seeds], axis=0)
    return replace(first, name=name or first.name, values=values)


def compare(first: QueryValues, second: QueryValues, draws: int = DRAWS, seed: int = 0) -> dict[str, PairedDifference]:
    """The difference of each domain's mean and of the balanced mean, with interval and p. Raises UsageError when the
    queries differ.

    p: share of random exchanges of the two runs within queries (sign flips of the differences) that give at least the
    observed difference in magnitude, as (1 + count) / (1 + draws).
    """
    require_same_queries(first, second)
    means, others = first.means(), second.means()
    differences = first.values - second.values
    rng = np.random.default_rng(seed)
    between = _intervals(first.by_domain(differences), draws, rng)
    p = {column: float(found[0]) for column, found in permutation_p(first, differences[:, None], draws, rng).items()}
    domains = [column for column in p if column != MEAN]
    corrected = p | dict(zip(domains, holm(np.array([p[domain] for domain in domains])).tolist(), strict=True))
    return {
        column: PairedDifference(
            means[column],
            others[column],
            means[column] - others[column],
            between[column],
            p[column],
            corrected[column],
        )
        for column in means
    }


def permutation_p(
    queries: QueryValues, differences: np.ndarray, draws: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Two-sided p of each column of differences (Q, m), by domain and for the mean: {column: (m,)}.

    All columns see the same sign flips.
    """
    return {column: found.p() for column, found in _flips(queries, differences, draws, rng).items()}


def pairwise_p(first: QueryValues, differences: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Two-sided p of the means of any two of m + 1 runs, (m + 1, m + 1): the first one, whose row and column are
    `permutation_p`'s, and those from which it differs by the columns of (Q, m).

    The flipped sum of a difference is the difference of two flipped sums, so all pairs cost as much as those with the
    first.
    """
    of_first = np.zeros((len(differences), 1))
    flips = _flips(first, np.concatenate((of_first, differences), axis=1), draws, rng)[MEAN]
    return np.stack([flips.against(column).p() for column in range(differences.shape[1] + 1)])


@dataclass(frozen=True)
class _Flips:
    """Sums of m columns of differences, over the number of queries."""

    flipped: np.ndarray
    """(draws, m) with random signs."""
    observed: np.ndarray
    """(m,) as they are."""
    sizes: np.ndarray
    """(m,) of their magnitudes, or more; bounds what rounding does."""

    def against(self, column: int) -> "_Flips":
        """The differences of all columns and one."""
        return _Flips(
            self.flipped - self.flipped[:, column, None],
            self.observed - self.observed[column],
            self.sizes + self.sizes[column],
        )

    def p(self) -> np.ndarray:
        """(m,)"""
        reached = np.abs(self.flipped) >= np.abs(self.observed) - ROUNDING * self.sizes
        return (1 + reached.sum(axis=0)) / (1 + len(self.flipped))


def _flips(queries: QueryValues, differences: np.ndarray, draws: int, rng: np.random.Generator) -> dict[str, _Flips]:
    """By domain, and for the mean. A sum of flipped differences is 2 b·d - sum(d) with b in {0, 1}: a matrix product
    with random bits."""
    flipped, observed, sizes = {}, {}, {}
    for domain, values in queries.by_domain(differences):
        of_any = values[(values != 0).any(axis=1)]
        flipped[domain] = _flipped_sums(of_any, draws, rng) / len(values)
        observed[domain] = of_any.sum(axis=0) / len(values)
        sizes[domain] = np.abs(of_any).sum(axis=0) / len(values)
    flipped, observed, sizes = _with_mean(flipped), _with_mean(observed), _with_mean(sizes)
    return {column: _Flips(flipped[column], observed[column], sizes[column]) for column in flipped}


def holm(p: np.ndarray) -> np.ndarray:
    """Adjusted p of m tests (Holm 1979): the smallest times m, the next times m - 1, and so on, never decreasing."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def require_same_queries(first: QueryValues, second: QueryValues) -> None:
    """Raises UsageError, with count and first five, where queries or what they have to find differ."""
    if not first.keys.equals(second.keys):
        for one, other in ((first, second), (second, first)):
            only = one.keys.filter(~one.keys.is_in(other.keys.implode()))
            if len(only):
                raise UsageError(
                    f"{len(only):,} of {len(one.keys):,} queries of {one.name} are not in {other.name} "
                    f"({_shown(only)}); compare runs that were scored on the same data and split."
                )
    if not first.n.equals(second.n):
        differ = first.keys.filter(first.n != second.n)
        raise UsageError(
            f"{len(differ):,} queries have another number of images to find in {first.name} than in {second.name} "
            f"({_shown(differ)}); compare runs that were scored on the same index."
        )


def _intervals(
    by_domain: Iterator[tuple[str, np.ndarray]], draws: int, rng: np.random.Generator
) -> dict[str, Interval]:
    """Percentiles; the balanced mean draws within each domain."""
    means = _with_mean({domain: _resampled_means(values, draws, rng) for domain, values in by_domain})
    tail = (1 - COVERED) / 2
    return {
        name: (float(np.quantile(drawn, tail)), float(np.quantile(drawn, 1 - tail))) for name, drawn in means.items()
    }


def _resampled_means(values: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(draws,) means of samples with replacement: how often each distinct value is drawn is multinomial."""
    distinct, counts = np.unique(values, return_counts=True)  # of any order, the same
    if len(distinct) > DISTINCT:
        distinct, counts = _grouped(distinct, counts)
    drawn = rng.multinomial(len(values), counts / len(values), size=draws)
    return drawn @ distinct / len(values)


def _grouped(distinct: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DISTINCT values for many: the means of groups of equal width, stretched about the mean of all so that mean and
    variance, hence those of a resampled mean, are what they were."""
    low, high = distinct[0], distinct[-1]
    group = ((distinct - low) / (high - low) * DISTINCT).astype(np.int64).clip(max=DISTINCT - 1)
    sizes = np.bincount(group, counts)
    used = sizes > 0
    sizes = sizes[used]
    of_groups = np.bincount(group, counts * distinct)[used] / sizes
    mean = np.average(distinct, weights=counts)
    variance = np.average((distinct - mean) ** 2, weights=counts)
    of_groups = mean + (of_groups - mean) * np.sqrt(variance / np.average((of_groups - mean) ** 2, weights=sizes))
    return of_groups, sizes


def _flipped_sums(differences: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(draws, m) sums of differences (Q, m) under random signs."""
    sums = np.zeros((draws, differences.shape[1]))
    if not len(differences):
        return sums
    row = -(-len(differences) // 8)  # bytes
    step = max(1, BITS // (8 * row))
    total = differences.sum(axis=0)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        packed = np.frombuffer(rng.bytes(rows * row), np.uint8).reshape(rows, row)
        bits = np.unpackbits(packed, axis=1, count=len(differences)).astype(np.float64)
        sums[start : start + rows] = 2 * (bits @ differences) - total
    return sums


def _mean(values: np.ndarray) -> float:
    """Whatever their order."""
    return float(np.sort(values).mean())


def _with_mean(of_domains: dict[str, Number]) -> dict[str, Number]:
    """And the balanced mean, first. Raises UsageError where no query has anything to find."""
    if not of_domains:
        raise UsageError("there is nothing to average: no query has anything to find.")
    first, *others = of_domains.values()
    return {MEAN: sum(others, start=first) / len(of_domains)} | of_domains


def _key(schema: pl.Schema) -> pl.Expr:
    label = pl.col("label")
    if schema["label"].is_nested():
        label = label.list.sort().list.join(AND)
    return pl.concat_str("source", "image", "domain", label, separator="\0")


def _shown(keys: pl.Series) -> str:
    more = ", ..." if len(keys) > 5 else ""
    shown = (dict(zip(QUERY, key.split("\0"), strict=True)) for key in keys.head(5))
    return (
        ", ".join(f"{q['source']}/{q['image']} ({q['domain']}: {q['label'].replace(AND, '+')})" for q in shown) + more
    )
