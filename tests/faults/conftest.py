from pathlib import Path

import numpy as np
import pytest

from feature_cache import Rows, StoreWriter
from tests.faults.world import DIM, STORE, write_parquet, write_sources


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user brings, and a store."""
    home = tmp_path_factory.mktemp("faults")
    write_sources(home)
    ids = (home / "clip.txt").read_text().split()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        write_parquet()
        with StoreWriter(STORE, {"m": 1}, dtype="float32") as writer:
            writer.add(Rows(ids, np.load("clip.npy"), np.full((len(ids), 2), 16), np.arange(1, len(ids) + 1)))
            writer.finish()
    assert np.load(home / "clip.npy").shape[1] == DIM
    return home
