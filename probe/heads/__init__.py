"""Projection heads, trained and training-free: (B, D) features -> (B, d) embeddings."""
