"""Anything with embeddings, scored: heads, soups, ensembles, embeddings made elsewhere."""
