"""Fitting heads: samplers, training loop, selection, sweeps, run directories."""
