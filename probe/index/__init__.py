"""A living index: one's own images, searched exactly, and never out of step with their folders or their embedder.

    index = Index.create("photos.index", "out/runs/mobilenetv1_discriminant_seed0_pocket_0a1b2c3d4e5f")
    index.add("photos/")
    Index.open("photos.index").search("query.jpg", k=10, where="label = 'shoe'").frame

The public names are in __init__.pyi; a module is loaded when one of its names is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
