"""Retrieval metrics: their definitions by two protocols, the scores of a split, and how sure they are.

A metric is one file in definitions/; evaluation.py searches and scores; scores.py has the results' types.

    evaluation = evaluate(frame, embeddings, metrics=["mMP@5", "mAP@R"])
    evaluation.scores.of("clean", "merged").mean["mAP@R"]                           # 0.431
    intervals(evaluation.per_query["merged"], "mAP@R")[MEAN]                        # (0.420, 0.442)
"""

from probe.metrics.evaluation import NEIGHBOURS, Evaluation, evaluate
from probe.metrics.metric import METRIC_KINDS, METRICS, Metric, MetricAtK, metrics_of, parse_metric, require_official
from probe.metrics.rank_correlation import spearman
from probe.metrics.relevance import domains_with_something_to_find
from probe.metrics.scores import INDEXES, MEAN, PROTOCOLS, DomainScores, Scores, SplitScores, Values, balanced_mean
from probe.metrics.uncertainty import (
    COVERED,
    DRAWS,
    QUERY,
    Interval,
    PairedDifference,
    QueryValues,
    assembled,
    averaged,
    compare,
    holm,
    intervals,
    pairwise_p,
    permutation_p,
    require_same_queries,
    value_intervals,
)

__all__ = [
    "COVERED",
    "DRAWS",
    "INDEXES",
    "MEAN",
    "METRICS",
    "METRIC_KINDS",
    "NEIGHBOURS",
    "PROTOCOLS",
    "QUERY",
    "DomainScores",
    "Evaluation",
    "Interval",
    "Metric",
    "MetricAtK",
    "PairedDifference",
    "QueryValues",
    "Scores",
    "SplitScores",
    "Values",
    "assembled",
    "averaged",
    "balanced_mean",
    "compare",
    "domains_with_something_to_find",
    "evaluate",
    "holm",
    "intervals",
    "metrics_of",
    "pairwise_p",
    "parse_metric",
    "permutation_p",
    "require_official",
    "require_same_queries",
    "spearman",
    "value_intervals",
]
