"""What embeds for an index: the run that made its vectors, or an export of it, in the precision that they were made in.

embedders = Embedders(path, state.manifest.embedder, run=None, weights=None, device="cpu", precision=None)
embedders.of(state).encode("query.jpg")      # by the index's own last step, where it is fitted to its images
"""

from collections.abc import Collection
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from probe.device import choose_device
from probe.embed import Embedder, ExportedFolder, load
from probe.errors import UsageError
from probe.heads import Head, LastStep, linear_layer
from probe.index.manifest import EmbedderRecord
from probe.index.state import State
from probe.precision import Precision, choose_precision
from probe.runs import RunDirectory


class Embedders:
    """Loaded when they are first asked for.

    `record`: that of the index; None where its vectors were made elsewhere. `run`: where the run is, if it has moved.
    Raises UsageError for another `precision` than that of the vectors: of an index that does not know it, when its
    embedder is loaded.
    """

    def __init__(
        self,
        index: Path,
        record: EmbedderRecord | None,
        run: str | Path | None,
        weights: str | Path | None,
        device: str,
        precision: str | None,
    ) -> None:
        self._index, self._record = index, record
        self._run, self._weights, self._device, self._precision = run, weights, device, precision
        self._fitted: Embedder | None = None
        if record is not None:
            self._require_precision(record.precisions.values())

    def of(self, state: State) -> Embedder:
        """What makes the vectors of a state, and of queries to it. Raises UsageError where the run is not there, is
        another one, or was never one."""
        if state.projection is None:
            return self._of_run
        key = f"{self._of_run.key}-{state.projection.record.digest}"
        if self._fitted is None or self._fitted.key != key:
            projection = linear_layer(torch.from_numpy(state.projection.matrix), None)
            before = last_step_of(self._of_run).before
            self._fitted = self._of_run.with_head(nn.Sequential(*before, projection), key)
        return self._fitted

    def adding(self, state: State) -> Embedder:
        """What makes what is put into it: where it is fitted to its images, all but the last step."""
        return self._of_run if state.manifest.fit is None else self._before_the_last_step

    @cached_property
    def _before_the_last_step(self) -> Embedder:
        before = nn.Sequential(*last_step_of(self._of_run).before)
        return self._of_run.with_head(before, f"{self._of_run.key}-before")

    @cached_property
    def _of_run(self) -> Embedder:
        record = self._record
        if record is None:
            raise UsageError(
                f"{self._index} is of vectors that were made elsewhere; add and search vectors, not images."
            )
        path = Path(self._run or record.path).expanduser()
        if record_of(path).identity != record.identity:
            raise UsageError(
                f"{path} is not what made the vectors of {self._index}, which is the run {record.run[:12]}; name that "
                "one, or make an index of this one."
            )
        found = load(path, weights=self._weights, device=self._device, precision=record.precisions or None)
        self._require_precision(found.precisions.values())
        return found

    def _require_precision(self, own: Collection[Precision]) -> None:
        if self._precision is None:
            return
        asked, _ = choose_precision(self._precision, choose_device(self._device)[0])
        if others := sorted(set(own) - {asked}):
            raise UsageError(
                f"the vectors of {self._index} are made in {' and '.join(others)}, and {asked} is asked for; leave the "
                f"precision out, or make another index: `probe index create --precision {asked}`."
            )


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
