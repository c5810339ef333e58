"""probe: linear probing over cached frozen features, for universal image retrieval.

Data flows one way:
manifest -> backbone -> extract -> feature store -> head + loss -> fit -> search -> metrics -> table.

    embedder = probe.load("out/runs/mobilenetv1_linear_arcface_seed0_0a1b2c3d4e5f")
    vectors = embedder.encode("photos/")

The public names are in __init__.pyi; a module is loaded when one of its names is first used (docs/api.md).
"""

import sys
from types import ModuleType
from typing import Any

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
FUNCTIONS = ("evaluate", "extract", "fit")


class _Probe(ModuleType):
    """Python would put the packages `probe.fit` and its like in the place of the functions when they are imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in FUNCTIONS or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Probe
