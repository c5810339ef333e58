"""Feature stores: what one frozen backbone saw in one image source, in one HDF5 file, keyed by image id.

A store knows what produced it (its spec and the spec's fingerprint), survives being killed while it is written,
and is refused with a clear error when it is damaged, unfinished or of another spec. Knows nothing of labels.

    with StoreWriter(path, spec) as writer:
        writer.add(Rows(ids, features, sizes))
        writer.finish()
    features = FeatureStore(path).load(ids)     # (len(ids), D), rows in the order of `ids`

The public names are in __init__.pyi; a module is loaded when one of its names is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
