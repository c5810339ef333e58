"""Anything with embeddings, scored: heads, soups, ensembles, embeddings made elsewhere.

source = head_source(runs, features_for(runs, "sample", "test", workspace), "test", None, "auto")
evaluate_once(source, EvaluationSettings(split="test"), workspace.evaluations).scores
"""

from probe.evaluate.embeddings import Embeddings, read_embeddings
from probe.evaluate.external import external_source
from probe.evaluate.folder import EmbeddingSource, EvaluationFolder, EvaluationSettings, evaluate_once
from probe.evaluate.heads import distance_of, features_for, head_source

__all__ = [
    "EmbeddingSource",
    "Embeddings",
    "EvaluationFolder",
    "EvaluationSettings",
    "distance_of",
    "evaluate_once",
    "external_source",
    "features_for",
    "head_source",
    "read_embeddings",
]
