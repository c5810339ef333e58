"""Exact search, metrics, evaluation."""
