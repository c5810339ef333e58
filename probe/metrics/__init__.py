"""Retrieval metrics: their definitions by two protocols, the scores of a split, and how sure they are."""

from probe.metrics.scores import DomainScores, Scores, SplitScores

__all__ = ["DomainScores", "Scores", "SplitScores"]
