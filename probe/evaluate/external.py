"""Embeddings that were made elsewhere, to be scored like a run: `probe evaluate mine.npy --ids mine.txt --data DATA`.

No backbone, no features and no store are needed: a file of vectors with ids, and the manifest that says what they are.

    source = external_source(Path("mine.npy"), Path("mine.txt"), "", manifest, settings, "auto")
    evaluate_once(source, settings, workspace.evaluations).scores
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from probe.data import Manifest
from probe.device import choose_device
from probe.evaluate.folder import EmbeddingSource, EvaluationSettings
from probe.extract import Constants
from probe.progress import say

BLOCK_ROWS = 4096

if TYPE_CHECKING:
    import torch

    from probe.search import Vectors


def external_source(
    path: Path, ids: Path | None, strip: str, manifest: Manifest, settings: EvaluationSettings, device_choice: str
) -> EmbeddingSource:
    """The embeddings of a file or a folder, known by the digests of what is read; see read_embeddings for the rest."""
    from probe.evaluate.embeddings import require_readable

    require_readable(path, ids)
    description = {
        "embeddings": path.name,
        "sha256": digest_of(path),
        "ids": None if ids is None else {"name": ids.name, "sha256": digest_of(ids)},
        "strip": strip,
        "manifest": manifest.digest,
    }
    identity = description | {"embeddings": None, "ids": description["ids"] and description["ids"]["sha256"]}

    def embed() -> "tuple[pl.DataFrame, torch.Tensor | Vectors]":
        from probe.evaluate.embeddings import read_embeddings

        found = read_embeddings(path, manifest, ids=ids, split=settings.split, strip=strip)
        vectors = found.vectors(settings.split, settings.distance)
        if found.unknown:
            say(f"{found.unknown:,} of {len(found):,} ids are of no image of {manifest.where} and are not used")
        if remark := _constants(vectors).remark:
            say(f"{path.name}: {remark}")
        device, reason = choose_device(device_choice)
        say(f"evaluate on {device.type} ({reason})")
        rows = manifest.split(settings.split)
        return rows, vectors if device.type == "cpu" else vectors.block(0, len(vectors)).to(device)

    return EmbeddingSource(path.stem, path.name, description, identity, embed)


def _constants(vectors: "Vectors") -> Constants:
    found = Constants()
    for start in range(0, len(vectors), BLOCK_ROWS):
        found.add(vectors.block(start, start + BLOCK_ROWS).numpy())
        if found.none:
            break
    return found


def digest_of(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of the names and digests of all files in it."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = "\n".join(f"{file.relative_to(path).as_posix()} {digest_of(file)}" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()
