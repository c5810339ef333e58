"""A finished run as something that turns images into vectors, in Python and on the command line.

embedder = load(Path("out/runs/mobilenetv1_linear_arcface_seed0_0a1b2c3d4e5f"))
embedder.encode(["a.jpg", pil_image, array, "photos/"])      # (N, 64) float32, unit length

The public names are in __init__.pyi; a module is loaded when one of its names is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
