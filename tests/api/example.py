# pyright: strict
"""The public API as a script uses it; pyright knows every type of it (`make lint`), and test_api.py runs it."""

from pathlib import Path

import probe

store = probe.extract("photos", backbone="descriptor", workers=0)
print(len(store), store[0].shape, store[store.ids[0]].shape, store.to_polars().columns)

run = probe.fit("photos", "descriptor", probe.heads.Linear(dim=16), probe.losses.ArcFace(), training={"epochs": 2})
print(run.scores.test.of("clean", "merged").mean["R@1"])

embedder = probe.load(run.path, device="cpu")
photos = sorted(Path("photos").rglob("*.png"))
vectors = embedder.encode(photos, batch_size=16)
print(vectors.shape, embedder.similarity(vectors[:1], vectors).shape)

ids = [photo.relative_to("photos").as_posix() for photo in photos]
scores = probe.evaluate(vectors, "photos", ids=ids)
assert scores.of("clean", "merged").mean == run.scores.test.of("clean", "merged").mean
