"""Manifests: which images form a training set or a benchmark, with labels, domains, splits and roles.

A manifest is read from a file, from the published annotations of a known data set, or from a folder of images; training
sets are drawn from them by recipes. Reading and decoding of images, and checks of data, are here too.

    manifest = resolve_data("sop", Path("/data"))      # a name, a folder, a manifest file
    manifest.split("test")                             # image, source, label, domain, split, role

The public names are in __init__.pyi; a module is loaded when one of its names is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
