"""Exact k nearest neighbours: one function, `search`, in front."""
