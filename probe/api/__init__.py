"""What the commands do, as functions: from images to features, from features to a run, from embeddings to scores.

store = extract("photos/", backbone="descriptor")
run = fit("photos/", backbone="descriptor", head=heads.Linear(dim=64), loss=losses.ArcFace())
scores = evaluate(vectors, "photos/", ids=ids)

The public names are in __init__.pyi; a module is loaded when one of its names is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
