"""Features for other programs: one .npy array and, beside it, the ids, one a line.

export_npy(FeatureStore("features/pocket/clip.h5"), Path("clip.npy"))      # clip.npy (N, D) and clip.ids.txt
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from feature_cache.errors import StoreError
from feature_cache.store import FeatureStore


def export_npy(store: FeatureStore, path: Path, advance: Callable[[int], None] = lambda rows: None) -> Path:
    """Writes all rows in file order, and returns where the ids are. `advance` is told of the rows.

    The array comes last, so a list of these very ids without one is what a killed export left, and is replaced. Raises
    StoreError when one of the files exists already, when an id has a line break, and when the disk is full.
    """
    if path.suffix != ".npy":
        raise StoreError(f"{path} does not end in .npy; name the array's file.")
    ids = path.with_suffix(".ids.txt")
    broken = [image for image in store.ids if "\n" in image or "\r" in image]
    if broken:
        raise StoreError(f"{store.path}: the id {broken[0]!r} has a line break, which a list of lines cannot hold.")
    lines = "".join(f"{image}\n" for image in store.ids).encode()
    try:
        if path.exists() or (ids.exists() and ids.read_bytes() != lines):
            raise StoreError(f"{path if path.exists() else ids} exists already; delete it or name another file.")
        _write(store, path, ids, lines, advance)
    except OSError as error:
        raise StoreError(
            f"{path} could not be written ({error.strerror}); make room or name another folder."
        ) from error
    return ids


def _write(store: FeatureStore, path: Path, ids: Path, lines: bytes, advance: Callable[[int], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array, names = (file.with_name(f".{file.name}.tmp") for file in (path, ids))
    shape = (store.rows, store.dim)
    header = {"descr": np.lib.format.dtype_to_descr(store.dtype), "fortran_order": False, "shape": shape}
    try:
        names.write_bytes(lines)
        with array.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for block in store.blocks():
                file.write(block.features.data)
                advance(len(block.ids))
        names.replace(ids)
        array.replace(path)
    finally:
        for temporary in (array, names):
            temporary.unlink(missing_ok=True)
