"""Per-query values as one number a domain, and the domains as one: every domain counts the same, however many queries.

summarize(per_query, ["mMP@5"])       # {"mean": {"mMP@5": 0.7}, "domains": {"cars": {"mMP@5": 0.7, "queries": 5, ...}}}
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl

Distance = Literal["cosine", "euclidean"]
INDEXES = ("merged", "separate")
PROTOCOLS = ("clean", "official")
PER_QUERY = {"merged": "per_query.parquet", "separate": "per_query_separate.parquet"}  # in a run's folder
DECIMALS = 3  # of the official protocol


def _plain_mean(values: np.ndarray) -> float:
    return float(np.mean(values))


def _official_mean(values: np.ndarray) -> float:
    """Of domains: rounded."""
    return float(np.round(np.mean(values), DECIMALS))


def _official_mean_of_queries(values: np.ndarray) -> float:
    """Summed one by one, as there, and rounded."""
    return float(np.round(np.cumsum(values)[-1] / len(values), DECIMALS))


OF_QUERIES = {"clean": _plain_mean, "official": _official_mean_of_queries}
OF_DOMAINS = {"clean": _plain_mean, "official": _official_mean}


def summarize(per_query: pl.DataFrame, metrics: Sequence[str], protocol: str = "clean") -> dict[str, Any]:
    """`domains`, by name: the means of its queries with n > 0, how many those are and how many have nothing to find;
    `mean`: the means of the domains that have a value. None where there is no value.

    The official protocol rounds each of them to three decimals.
    """
    domains: dict[str, dict[str, Any]] = {}
    for (domain,), rows in sorted(per_query.group_by("domain", maintain_order=True)):
        scored = rows.filter(pl.col("n") > 0)
        values = {name: OF_QUERIES[protocol](scored[name].to_numpy()) if len(scored) else None for name in metrics}
        domains[str(domain)] = values | {"queries": len(scored), "nothing_to_find": len(rows) - len(scored)}
    return {"mean": balanced_mean(domains, metrics, protocol), "domains": domains}


def balanced_mean(
    domains: Mapping[str, Mapping[str, Any]], metrics: Sequence[str], protocol: str = "clean"
) -> dict[str, float | None]:
    """Of each metric, over the domains that have a value."""
    known = {name: [each[name] for each in domains.values() if each[name] is not None] for name in metrics}
    return {name: OF_DOMAINS[protocol](np.array(values)) if values else None for name, values in known.items()}
