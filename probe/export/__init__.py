"""A finished run as a folder that others load, without probe, verified against the run before it appears.

export(Path("out/runs/mobilenetv1_linear_arcface_seed0_0a1b2c3d4e5f"), Path("embedder"), data_root=data_root)

The public names are in __init__.pyi; a module is loaded when one of its names is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
