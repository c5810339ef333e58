"""How the weights are updated: one file an optimizer or two that differ in little, found by the registry in base.py."""
