"""Manifests: which images form a training set or a benchmark, with labels, domains, splits and roles."""
