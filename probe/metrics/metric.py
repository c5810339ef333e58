"""What a metric is: a class in a file of probe/metrics/definitions that gives each query a value.

A metric has a clean rule and an official one, the published UnED evaluator's way of counting, or says that it has none.
A query that has nothing to find has no value (NaN); averaging is the caller's.

    metric = parse_metric("mAP@100")
    metric.values(hits, n)                    # (Q,) in [0, 1]
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from probe.errors import UsageError, nearest
from probe.metrics import definitions
from probe.registry import Registry

METRICS = ("mMP@5", "R@1", "mAP@100")
"""What every run is scored with."""


@dataclass(frozen=True)
class Metric(ABC):
    """A metric of one name, such as R-precision; MetricAtK is one with a cutoff."""

    form: ClassVar[str]
    """How it is written; `@k` at the end stands for a cutoff."""
    has_official: ClassVar[bool]
    """Whether the published UnED evaluator's way of counting is defined for it."""

    @classmethod
    def parse(cls, name: str) -> "Metric | None":
        """None where the name is of another metric."""
        return cls() if name == cls.form else None

    @property
    def name(self) -> str:
        return self.form

    @abstractmethod
    def depth(self, most_relevant: int) -> int:
        """How many results it looks at, where the query with the most relevant images has so many of them."""

    @abstractmethod
    def values(self, hits: np.ndarray, n: np.ndarray) -> np.ndarray:
        """(Q,) float64 in [0, 1], NaN where n is 0.

        hits (Q, any) bool: whether each result is relevant, best first; past the last, nothing is found. n (Q,): how
        many images are relevant, the query's own not counted.
        """

    def official(self, hits: np.ndarray, n: np.ndarray, drop: int) -> np.ndarray:
        """(Q,) float64, maybe outside [0, 1], where `has_official`.

        drop: 1 where the first row is dropped, else 0. hits (Q, any): of index rows, the dropped one among them.
        n (Q,): relevant index rows, more than `drop`.
        """
        raise NotImplementedError(f"{self.name} has no official rule")


@dataclass(frozen=True)
class MetricAtK(Metric):
    """A metric of the first k results."""

    k: int

    @classmethod
    def parse(cls, name: str) -> "Metric | None":
        match = re.fullmatch(f"{re.escape(cls.form.removesuffix('@k'))}@([1-9][0-9]{{0,8}})", name)
        return cls(int(match[1])) if match else None

    @property
    def name(self) -> str:
        return f"{self.form.removesuffix('k')}{self.k}"

    def depth(self, most_relevant: int) -> int:
        return self.k


class MetricKinds(Registry[type[Metric]]):
    """The metrics by their forms. They have no options but k, and so no Config."""

    def register(self, member: type[Metric]) -> type[Metric]:
        """A decorator. Raises ValueError for a form that is taken, and for a class that leaves its protocols open."""
        if member.form in self._classes:
            raise ValueError(f"two classes call themselves the {self.what} '{member.form}'")
        if not hasattr(member, "has_official"):
            raise ValueError(f"{member.__name__} does not say whether it `has_official`")
        self._classes[member.form] = member
        return member

    @property
    def forms(self) -> list[str]:
        """How they are written, in alphabetical order."""
        return sorted(self.kinds, key=str.casefold)


METRIC_KINDS = MetricKinds("metric", definitions.__name__, Metric)


def parse_metric(name: str) -> Metric:
    """The metric of a name, such as mMP@5 or R-precision. Raises UsageError with the nearest name."""
    metric = _find(name)
    if metric is None:
        k = "".join(re.findall(r"[1-9][0-9]*", name)[:1]) or "5"
        names = [re.sub("@k$", f"@{k}", form) for form in METRIC_KINDS.forms]
        same = [each for each in names if each.casefold() == name.casefold()]
        forms = ", ".join(METRIC_KINDS.forms)
        raise UsageError(f"'{name}' is no metric; {nearest(name, same or names)} (metrics are {forms})")
    return metric


def metrics_of(columns: Iterable[str]) -> list[str]:
    """The metrics among the columns of a per-query frame."""
    return [name for name in columns if _find(name)]


def require_official(names: Iterable[str]) -> None:
    """Raises UsageError, with those that have one, where a metric has no official rule."""
    without = [name for name in names if not parse_metric(name).has_official]
    if without:
        having = ", ".join(form for form in METRIC_KINDS.forms if METRIC_KINDS.kinds[form].has_official)
        raise UsageError(f"the official protocol has no {' and no '.join(without)}; it has {having}.")


def _find(name: str) -> Metric | None:
    found = (kind.parse(name) for kind in METRIC_KINDS)
    return next((metric for metric in found if metric), None)


def where_findable(n: np.ndarray, values: ArrayLike) -> np.ndarray:
    """(Q,) float64 values, NaN where n is 0."""
    return np.where(n > 0, np.asarray(values, np.float64), np.nan)


def ratio(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(Q,) float64 sums / counts, NaN where a count is 0."""
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


def first(n: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """hits (Q, k), with those past the first n (Q,) of each query taken away."""
    return hits & (np.arange(hits.shape[1]) < n[:, None])
