"""Retrieval metrics: their definitions by two protocols, the scores of a split, and how sure they are."""
