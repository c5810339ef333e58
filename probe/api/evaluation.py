"""Embeddings, from here or elsewhere, scored by retrieval, as `probe evaluate` does.

scores = evaluate(vectors, "photos/", ids=ids)
scores.of("clean", "merged").mean["mMP@5"]
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from feature_cache import FeatureStore, Shard, require_sound
from probe.data import Manifest, resolve_data
from probe.errors import UsageError
from probe.evaluate import Embeddings, read_embeddings
from probe.metrics import METRICS, SplitScores
from probe.metrics import evaluate as score
from probe.search import Distance
from probe.workspace import Workspace


def evaluate(
    embeddings: np.ndarray | FeatureStore | str | Path,
    manifest: Manifest | str | Path,
    *,
    ids: Sequence[str] | str | Path | None = None,
    split: str = "test",
    distance: Distance = "cosine",
    metrics: Sequence[str] = METRICS,
    data_root: str | Path | None = None,
) -> SplitScores:
    """The scores of one split of the manifest, by all protocols and indexes.

    `embeddings`: (N, d) with the image `ids` (N) of its rows, in any order, a store, or a file as `probe evaluate`
    takes it. `manifest`: as DATA of the commands. Rows are joined by id, never by position. Raises UsageError for
    images without an embedding, with their number and the first five.
    """
    if not isinstance(manifest, Manifest):
        manifest = resolve_data(str(manifest), Workspace.named(data_root, None, None).data_root)
    found = _found(embeddings, manifest, ids, split)
    return score(manifest.split(split), found.vectors(split, distance), distance=distance, metrics=metrics).scores


def _found(
    embeddings: np.ndarray | FeatureStore | str | Path,
    manifest: Manifest,
    ids: Sequence[str] | str | Path | None,
    split: str,
) -> Embeddings:
    if isinstance(embeddings, np.ndarray):
        if ids is None or isinstance(ids, str | Path) or len(ids) != len(embeddings) or embeddings.ndim != 2:
            raise UsageError(
                f"embeddings of shape {embeddings.shape} need `ids`, which say of each of their rows whose image it is."
            )
        shards = [Shard(Path("embeddings"), list(ids), np.asarray(embeddings, np.float32))]
        require_sound(shards)
        return Embeddings(Path("embeddings"), shards, manifest)
    path = embeddings.path if isinstance(embeddings, FeatureStore) else Path(embeddings)
    if not isinstance(ids, str | Path | None):
        raise UsageError(f"{path}: the `ids` of a file are in a file; name it.")
    return read_embeddings(path, manifest, ids=Path(ids) if ids else None, split=split)
