"""What a split scores: a value of each metric for each domain, and their balanced mean, in which every domain counts
the same however many queries it has. Typed and checked wherever it is read: nothing else is taken for scores.

    scores = SplitScores.model_validate(json.loads(text))
    scores.of("clean", "merged").mean["mMP@5"]                  # 0.612
    scores.of("clean", "separate").domains["cars"].values["R@1"]
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from pydantic import Field, NonNegativeInt, RootModel, model_serializer, model_validator

from probe.errors import UsageError
from probe.validation import Strict

INDEXES = ("merged", "separate")
PROTOCOLS = ("clean", "official")
DECIMALS = 3  # of the official protocol
PUBLISHED_ORDER = ("food2k", "cars196", "sop", "inshop", "inat", "met", "gldv2", "rp2k")
"""UnED's domains as the published code lists them (`knn_eval_names`), and adds them up: sums round by their order."""
FARTHEST = 10.0  # from 0, of a value that a metric can have
MEAN = "Mean"
"""The column of the balanced mean, beside the domains'."""

Values = dict[str, Annotated[float, Field(ge=-FARTHEST, le=FARTHEST)] | None]
"""By metric, as fractions; None where no query has anything to find. The official protocol's leave 0 to 1."""


class DomainScores(Strict):
    """A domain's means over its queries. In JSON the values stand beside the counts, by the names of their metrics."""

    values: Values
    queries: NonNegativeInt
    """Those that have something to find, over which the values are means."""
    nothing_to_find: NonNegativeInt
    """The other queries, which are left out."""

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "values" in given:
            return given
        counts = {name: given[name] for name in ("queries", "nothing_to_find") if name in given}
        return counts | {"values": {name: value for name, value in given.items() if name not in counts}}

    @model_serializer
    def _flatten(self) -> dict[str, Any]:
        return self.values | {"queries": self.queries, "nothing_to_find": self.nothing_to_find}


class Scores(Strict):
    """Of one split, searched in one index and counted by one protocol."""

    mean: Values
    """The unweighted mean over the domains that have a value."""
    domains: dict[str, DomainScores]
    """By name, sorted."""

    def value(self, metric: str, domain: str | None = None) -> float:
        """A domain's, or the balanced mean's. Raises ValueError where no query has anything to find."""
        found = (self.mean if domain is None else self.domains[domain].values)[metric]
        if found is None:
            raise ValueError(f"{metric} has no value: no query of {domain or 'any domain'} has anything to find")
        return found

    @model_validator(mode="after")
    def _same_metrics_everywhere(self) -> "Scores":
        for name, domain in self.domains.items():
            if domain.values.keys() != self.mean.keys():
                raise ValueError(f"the domain '{name}' and the mean have values of different metrics")
        return self


class SplitScores(RootModel[dict[Literal["clean", "official"], dict[Literal["merged", "separate"], Scores]]]):
    """Of one split: by protocol and by index, those of them that were asked for."""

    @model_validator(mode="after")
    def _clean_ones_are_shares(self) -> "SplitScores":
        for index, scores in self.root.get("clean", {}).items():
            for values in (scores.mean, *(domain.values for domain in scores.domains.values())):
                wrong = [name for name, value in values.items() if value is not None and not 0 <= value <= 1]
                if wrong:
                    raise ValueError(f"the {index} {wrong[0]} is {values[wrong[0]]:g}, which is no share")
        return self

    def of(self, protocol: str, index: str) -> Scores:
        """Raises UsageError for what was not scored."""
        found = self.root.get(protocol, {}).get(index)  # type: ignore[call-overload]
        if found is None:
            raise UsageError(f"there are no {protocol} scores in the {index} index; fit or evaluate again.")
        return found


def _plain_mean(values: np.ndarray) -> float:
    return float(np.mean(values))


def _rounded_mean(values: np.ndarray) -> float:
    return float(np.round(np.mean(values), DECIMALS))


def _rounded_mean_of_queries(values: np.ndarray) -> float:
    """Summed one by one, as in the published code."""
    return float(np.round(np.cumsum(values)[-1] / len(values), DECIMALS))


OF_QUERIES = {"clean": _plain_mean, "official": _rounded_mean_of_queries}
OF_DOMAINS = {"clean": _plain_mean, "official": _rounded_mean}


def summarize(per_query: pl.DataFrame, metrics: Sequence[str], protocol: str = "clean") -> Scores:
    """The means of a frame that has a row a query: `domain`, `n`, and a column for each metric.

    The official protocol rounds each of them to three decimals.
    """
    domains: dict[str, DomainScores] = {}
    for (domain,), rows in sorted(per_query.group_by("domain", maintain_order=True)):
        scored = rows.filter(pl.col("n") > 0)
        values = {name: OF_QUERIES[protocol](scored[name].to_numpy()) if len(scored) else None for name in metrics}
        domains[str(domain)] = DomainScores(values=values, queries=len(scored), nothing_to_find=len(rows) - len(scored))
    return Scores(mean=balanced_mean(domains, metrics, protocol), domains=domains)


def balanced_mean(domains: Mapping[str, DomainScores], metrics: Sequence[str], protocol: str = "clean") -> Values:
    """Of each metric, over the domains that have a value.

    The official protocol adds up UnED's domains in the order of the published list, others in that of their names.
    """
    names = sorted(domains, key=_published_place) if protocol == "official" else list(domains)
    known = {
        metric: [value for name in names if (value := domains[name].values.get(metric)) is not None]
        for metric in metrics
    }
    return {metric: OF_DOMAINS[protocol](np.array(values)) if values else None for metric, values in known.items()}


def _published_place(domain: str) -> tuple[int, str]:
    place = PUBLISHED_ORDER.index(domain) if domain in PUBLISHED_ORDER else len(PUBLISHED_ORDER)
    return place, domain
