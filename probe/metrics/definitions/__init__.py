"""The metrics, one file each: the clean rule, and the official one where the published UnED evaluator has the metric.

A new file here is a new metric; nothing lists them. docs/evaluation.md has all definitions.
"""
