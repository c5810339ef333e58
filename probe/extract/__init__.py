"""Extraction: manifest x backbone -> feature store."""
