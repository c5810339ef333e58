"""Feature stores: what one frozen backbone saw in one image source, in one HDF5 file, keyed by image id.

A store knows what produced it (its spec and the spec's fingerprint), survives being killed while it is written,
and is refused with a clear error when it is damaged, unfinished or of another spec. Knows nothing of labels.

    with StoreWriter(path, spec) as writer:
        writer.add(Rows(ids, features, sizes))
        writer.finish()
    features = FeatureStore(path).load(ids)     # (len(ids), D), rows in the order of `ids`
"""

from feature_cache.errors import MissingIdsError, SpecMismatchError, StoreError
from feature_cache.export import export_npy
from feature_cache.foreign import read_foreign
from feature_cache.layout import Failure, Rows
from feature_cache.spec import Spec, differences, fingerprint
from feature_cache.store import FeatureStore
from feature_cache.verify import repair, verify
from feature_cache.writer import StoreWriter, drop

__all__ = [
    "Failure",
    "FeatureStore",
    "MissingIdsError",
    "Rows",
    "Spec",
    "SpecMismatchError",
    "StoreError",
    "StoreWriter",
    "differences",
    "drop",
    "export_npy",
    "fingerprint",
    "read_foreign",
    "repair",
    "verify",
]
