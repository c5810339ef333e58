"""The definitions of docs/evaluation.md in plain loops: the clean protocol over images, and the published UnED
evaluator over rows, written from its description. Similarities are given by pairs of rows, in float64."""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from probe.data.labels import as_lists
from probe.search import Distance

Row = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """Rows of a split, and a matrix of similarities (by `distance`) of which each row has a row (equal ones tie)."""

    frame: pl.DataFrame
    vectors: np.ndarray  # (N, d), one a row
    similar: np.ndarray  # (P, P)
    of_row: list[int]  # (N,) into similar
    distance: Distance

    @cached_property
    def rows(self) -> list[tuple[int, Row]]:
        rows = self.frame.with_columns(labels=as_lists(self.frame["label"]))
        return list(enumerate(rows.iter_rows(named=True)))

    def similarity(self, i: int, j: int) -> float:
        return float(self.similar[self.of_row[i], self.of_row[j]])


def at(form: str, k: int) -> str:
    """A metric's name from its form: mMP@5 of mMP@k, and R-precision of R-precision."""
    return form.removesuffix("@k") + (f"@{k}" if form.endswith("@k") else "")


def parts_of(name: str) -> tuple[str, int]:
    """Form and k; 0 where the metric has none."""
    match = re.fullmatch(r"(.+@)([0-9]+)", name)
    return (f"{match[1]}k", int(match[2])) if match else (name, 0)


def relevant(query: Row, result: Row) -> bool:
    return query["domain"] == result["domain"] and bool(set(query["labels"]) & set(result["labels"]))


def value_of(metric: str, hits: list[bool], n: int) -> float:
    """Section 1 of the definitions; NaN with nothing to find."""
    form, k = parts_of(metric)
    return CLEAN[form](hits, n, k) if n else math.nan


def _precisions(hits: list[bool], last: int) -> float:
    """The sum of P(j) over the relevant results j <= last."""
    return sum((sum(hits[:j]) / j for j in range(1, min(last, len(hits)) + 1) if hits[j - 1]), start=0.0)


def _reciprocal_rank(hits: list[bool], n: int, k: int) -> float:
    for rank, hit in enumerate(hits[:k], start=1):
        if hit:
            return 1 / rank
    return 0.0


Clean = Callable[[list[bool], int, int], float]
CLEAN: dict[str, Clean] = {  # by form: hits, best first, n > 0, and k
    "R@k": lambda hits, n, k: float(any(hits[:k])),
    "mMP@k": lambda hits, n, k: sum(hits[: min(n, k)]) / min(n, k),
    "mAP@k": lambda hits, n, k: _precisions(hits, k) / min(n, k),
    "MRR@k": _reciprocal_rank,
    "mAP@R": lambda hits, n, k: _precisions(hits, n) / n,
    "R-precision": lambda hits, n, k: sum(hits[:n]) / n,
}


def clean(problem: Problem, metrics: list[str], separate: bool) -> list[dict[str, Any]]:
    """A dictionary a query, in the frame's order."""
    found = []
    for i, query in problem.rows:
        if query["role"] == "index":
            continue
        index = [(j, row) for j, row in problem.rows if row["role"] in ("index", "both")]
        if separate:
            index = [(j, row) for j, row in index if row["domain"] == query["domain"]]
        images: dict[tuple[str, str], list[tuple[int, Row]]] = {}
        for j, row in index:
            images.setdefault((row["source"], row["image"]), []).append((j, row))
        images.pop((query["source"], query["image"]), None)
        ranked = sorted(images.values(), key=lambda rows: (-problem.similarity(i, rows[0][0]), rows[0][0]))
        hits = [any(relevant(query, row) for _, row in rows) for rows in ranked]
        n = sum(hits)
        names = [rows[0][1]["image"] for rows in ranked]
        values = {metric: value_of(metric, hits, n) for metric in metrics}
        found.append({"domain": query["domain"], "n": n, "neighbours": names, "hits": hits} | values)
    return found


def clean_summary(per_query: list[dict[str, Any]], metrics: list[str]) -> dict[str, Any]:
    domains: dict[str, Any] = {}
    for domain in sorted({query["domain"] for query in per_query}):
        of_domain = [query for query in per_query if query["domain"] == domain]
        scored = [query for query in of_domain if query["n"] > 0]
        domains[domain] = {m: math.fsum(q[m] for q in scored) / len(scored) if scored else None for m in metrics}
        domains[domain] |= {"queries": len(scored), "nothing_to_find": len(of_domain) - len(scored)}
    return {"mean": {m: _mean([d[m] for d in domains.values()]) for m in metrics}, "domains": domains}


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _published_recall(taken: list[bool], rows_of_class: int, k: int, throw_first: bool) -> float:
    return float(any(taken[1:] if throw_first else taken))


def _published_mmp(taken: list[bool], rows_of_class: int, k: int, throw_first: bool) -> float:
    correct = 0
    for j in range(min(len(taken), rows_of_class)):
        correct += taken[j]
    return (correct - 1) / min(rows_of_class - 1, k) if throw_first else correct / min(rows_of_class, k)


def _published_map(taken: list[bool], rows_of_class: int, k: int, throw_first: bool) -> float:
    after = np.array(taken[1:] if throw_first else taken, int)
    precision = np.cumsum(after) / (1 + np.arange(len(after)))
    return (precision * after).sum() / min(rows_of_class - throw_first, k)


Official = Callable[[list[bool], int, int, bool], float]
OFFICIAL: dict[str, Official] = {  # by form: the k (+ 1) rows taken, rows of the class, k, whether the first is dropped
    "R@k": _published_recall,
    "mMP@k": _published_mmp,
    "mAP@k": _published_map,
}


def published(problem: Problem, metrics: list[str], separate: bool) -> dict[str, Any]:
    """The published evaluator: rows, no ids, rank 1 dropped where queries are index; queries that it would divide by
    zero for are left out."""
    domains: dict[str, Any] = {}
    for domain in sorted({row["domain"] for _, row in problem.rows if row["role"] != "index"}):
        queries = [(i, row) for i, row in problem.rows if row["domain"] == domain and row["role"] != "index"]
        index = [(j, row) for j, row in problem.rows if row["role"] in ("index", "both")]
        counter = Counter(row["labels"][0] for _, row in index if row["domain"] == domain)
        if separate:
            index = [(j, row) for j, row in index if row["domain"] == domain]
        throw_first = all(row["role"] == "both" for _, row in queries)
        sums, counted = dict.fromkeys(metrics, 0.0), 0
        for i, query in queries:
            rows_of_class = sum(counter[label] for label in query["labels"])
            n = rows_of_class - 1 if throw_first else rows_of_class
            if n <= 0:
                continue
            counted += 1
            ranked = sorted(index, key=lambda row, i=i: (-problem.similarity(i, row[0]), row[0]))
            for metric in metrics:
                form, k = parts_of(metric)
                taken = [relevant(query, row) for _, row in ranked[: k + 1 if throw_first else k]]
                sums[metric] += OFFICIAL[form](taken, rows_of_class, k, throw_first)
        values = {m: float(np.round(sums[m] / counted, 3)) if counted else None for m in metrics}
        domains[domain] = values | {"queries": counted, "nothing_to_find": len(queries) - counted}
    means = {}
    for metric in metrics:
        known = [each[metric] for each in domains.values() if each[metric] is not None]
        means[metric] = float(np.round(np.mean(known), 3)) if known else None
    return {"mean": means, "domains": domains}
