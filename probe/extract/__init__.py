"""Extraction, manifest x backbone -> feature store; and manifest rows joined to the stored features by image id.

    extract_sources([manifest], backbone, workspace, Settings(), "auto")
    CachedFeatures(manifest, Selection(backbone="clip-b16"), {"clip-b16": backbone.identity()}, workspace)

The public names are in __init__.pyi; a module is loaded when one of its names is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
