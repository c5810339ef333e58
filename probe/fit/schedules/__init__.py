"""The learning rate over a run: one file a schedule, found by the registry in base.py."""
