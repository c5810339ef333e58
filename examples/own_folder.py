# pyright: strict
"""Photographs of your own as vectors: a head is fitted to them, and each one finds the others that are most like it.

    python examples/own_folder.py ~/photos                       # photos/<class>/<image>
    python examples/own_folder.py ~/photos timm:resnet50.a1_in1k # by a better backbone, whose weights are downloaded

What is done is not done again. More: docs/api.md.
"""

import sys
from pathlib import Path

import numpy as np

import probe

SHOWN = 5


def main(folder: Path, backbone: str = "descriptor") -> None:
    store = probe.extract(folder, backbone)  # each image is seen once; those that cannot be decoded are left out
    run = probe.fit(folder, backbone, probe.heads.PCAWhitening(dim=16))
    recall = run.scores.test.of("clean", "merged").mean["R@1"] or 0.0
    print(f"R@1 on classes that were not fitted: {recall:.1%}")

    embedder = probe.load(run.path)
    vectors = embedder.encode([folder / image for image in store.ids], show_progress=True)  # (N, 16) float32
    similarities = embedder.similarity(vectors[:SHOWN], vectors)
    np.fill_diagonal(similarities, -np.inf)  # of a photograph to itself
    for image, nearest in zip(store.ids, similarities.argmax(axis=1).tolist(), strict=False):
        print(f"{image} is most like {store.ids[nearest]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).expanduser(), *sys.argv[2:])
