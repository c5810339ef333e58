"""Per-query values as one number a domain, and the domains as one: every domain counts the same, however many queries.

summarize(per_query, ["mMP@5"])       # {"mean": {"mMP@5": 0.7}, "domains": {"cars": {"mMP@5": 0.7, "queries": 5, ...}}}
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

Average = Callable[[np.ndarray], float]


def plain_mean(values: np.ndarray) -> float:
    return float(np.mean(values))


def summarize(
    per_query: pl.DataFrame, metrics: Sequence[str], of_queries: Average = plain_mean, of_domains: Average = plain_mean
) -> dict[str, Any]:
    """`domains`, by name: the averages of its queries with n > 0, how many those are and how many have nothing to find;
    `mean`: the averages of the domains that have a value. None where there is no value.
    """
    domains: dict[str, dict[str, Any]] = {}
    for (domain,), rows in sorted(per_query.group_by("domain", maintain_order=True)):
        scored = rows.filter(pl.col("n") > 0)
        values = {name: of_queries(scored[name].to_numpy()) if len(scored) else None for name in metrics}
        domains[str(domain)] = values | {"queries": len(scored), "nothing_to_find": len(rows) - len(scored)}
    means = {}
    for name in metrics:
        values = np.array([each[name] for each in domains.values() if each[name] is not None])
        means[name] = of_domains(values) if len(values) else None
    return {"mean": means, "domains": domains}
