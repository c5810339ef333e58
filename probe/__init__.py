"""probe: linear probing over cached frozen features, for universal image retrieval.

Data flows one way:
manifest -> backbone -> extract -> feature store -> head + loss -> fit -> search -> metrics -> table.

    embedder = probe.load("out/runs/mobilenetv1_linear_arcface_seed0_0a1b2c3d4e5f")
    vectors = embedder.encode("photos/")

The public names are in __init__.pyi; a module is loaded when one of its names is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
