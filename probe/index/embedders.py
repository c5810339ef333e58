"""Which embedder made the vectors of an index: that of a run, found again in the run's folder or in an export of it.

record_of(Path("out/runs/mobilenetv1_linear_arcface_seed0_0a1b2c3d4e5f")).run      # its key
"""

from pathlib import Path

from probe.embed import Embedder, ExportedFolder
from probe.errors import UsageError
from probe.heads import Head, LastStep
from probe.index.manifest import EmbedderRecord
from probe.runs import RunDirectory


def record_of(path: Path) -> EmbedderRecord:
    """Of a finished run, or of what was exported of it, which embeds alike. Raises UsageError for anything else."""
    path = path.resolve()
    if ExportedFolder.is_one(path):
        config = ExportedFolder(path).config
        return EmbedderRecord(run=config.run, weights={config.name: config.weights_sha256}, path=str(path))
    run = RunDirectory(path)
    run.require_done()
    specs = zip(run.config.backbones, run.config.stores("test"), strict=True)
    weights = {name: run.features.spec[store].get("backbone", {}).get("weights_sha256") or "" for name, store in specs}
    return EmbedderRecord(run=run.key, weights=weights, path=str(path))


def last_step_of(embedder: Embedder) -> LastStep:
    """Of its head. Raises UsageError for one that has none that does without labels, and for an export, whose head is
    in one piece."""
    if embedder.distance != "cosine":
        raise UsageError("only vectors that are compared by cosine can be fitted to a collection.")
    if not isinstance(embedder.head, Head):
        raise UsageError("an export has its head in one piece, which cannot be fitted to a collection; name the run.")
    return embedder.head.last_step()
