"""Which images each training step sees: one file a sampler, found by the registry in base.py."""
