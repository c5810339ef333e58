"""Readers of published annotation formats: one format a file, each a table (probe/data/readers/table.py)."""
