"""Stores as no writer of today makes them: of format 1, and with contents that only their digests vouch for.

write_format_1(path, Rows(...), failures)      # what release 0.1 wrote
reseal(path)                                   # after an edit by h5py: as if the edit had been written
"""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from feature_cache import Failure, Rows, Spec, fingerprint
from feature_cache.digests import COLUMNS, chunk_digest, seal
from feature_cache.layout import digests_of, sealed_facts
from feature_cache.spec import canonical_json


def write_format_1(
    path: Path, rows: Rows, failures: Sequence[Failure] = (), spec: Spec | None = None, chunk_bytes: int = 1 << 14
) -> None:
    """Fletcher-32 on every column, and no digests."""
    spec = {} if spec is None else spec
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = np.zeros(len(rows.ids), np.uint64) if rows.contents is None else rows.contents
    ids = np.array([image.encode() for image in rows.ids], "S")
    failed = [(failure.id.encode(), failure.reason.encode()) for failure in failures]
    text = h5py.string_dtype("utf-8", max(1, ids.dtype.itemsize))
    kind = np.dtype([("id", h5py.string_dtype("utf-8", 99)), ("reason", h5py.string_dtype("utf-8", 99))])
    columns = {
        "features": rows.features,
        "size": np.asarray(rows.sizes, np.int32),
        "content": np.asarray(contents, np.uint64),
        "id": ids.astype(text),
        "failed": np.array(failed, kind),
    }
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        for name, values in columns.items():
            step = max(1, chunk_bytes // max(1, values[:1].nbytes or values.itemsize))
            file.create_dataset(
                name, data=values, maxshape=(None, *values.shape[1:]), chunks=(step, *values.shape[1:]), fletcher32=True
            )
        texts = {"format": "feature-cache", "spec": canonical_json(spec), "fingerprint": fingerprint(spec)}
        for name, value in texts.items():
            file.attrs.create(name, value.encode(), dtype=h5py.string_dtype("utf-8", len(value.encode())))
        for name, value in (("version", 1), ("count", len(ids)), ("failed_count", len(failed)), ("complete", True)):
            file.attrs[name] = value


def reseal(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        digests = {}
        for name in COLUMNS:
            data = file[name]
            assert isinstance(data, h5py.Dataset)
            starts = [data.id.get_chunk_info(i).chunk_offset for i in range(data.id.get_num_chunks())]
            found = [chunk_digest(name, start[0], data.id.read_direct_chunk(start)[1]) for start in sorted(starts)]
            del file[digests_of(name)]
            digests[name] = file[digests_of(name)] = np.array(found, np.uint64)
        file.attrs.modify("seal", np.bytes_(seal(sealed_facts(file), digests)))
