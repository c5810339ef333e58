"""Run directories: how runs are made, recognised, written and read."""
