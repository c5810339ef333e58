"""A head applied to all rows of a split, block by block, wherever their features are.

embed(head, data.val)      # (N, d) float32, in the rows' order
"""

from collections.abc import Sequence

import torch
from torch import nn

from probe.fit.data import SplitRows
from probe.metrics import Evaluation, Scores, evaluate
from probe.progress import OnProgress, silent
from probe.search import Distance

SELECTING = ("mMP@5", "R@1")  # what validation computes


@torch.inference_mode()
def embed(head: nn.Module, rows: SplitRows) -> torch.Tensor:
    """(N, d) float32 embeddings of all rows, in eval mode, on the device."""
    head.eval()
    embeddings: torch.Tensor | None = None
    for positions, block in rows.blocks():
        found: torch.Tensor = head(block.float())
        if embeddings is None:
            embeddings = found.new_empty(len(rows), found.shape[1])
        embeddings[positions] = found
    if embeddings is None:
        raise ValueError("a split has at least one row")
    return embeddings


def score(head: nn.Module, rows: SplitRows, distance: Distance = "cosine", progress: OnProgress = silent) -> Evaluation:
    """The embeddings of the split, searched and scored in every way that tables show."""
    return evaluate(rows.frame, embed(head, rows), distance=distance, progress=progress)


def score_merged(
    head: nn.Module,
    rows: SplitRows,
    distance: Distance = "cosine",
    metrics: Sequence[str] = SELECTING,
    progress: OnProgress = silent,
) -> Scores:
    """The merged index and the clean protocol alone: what selects an epoch, cheaper than all."""
    found = evaluate(
        rows.frame,
        embed(head, rows),
        distance=distance,
        metrics=metrics,
        indexes=["merged"],
        protocols=["clean"],
        neighbours=0,
        progress=progress,
    )
    return found.scores.of("clean", "merged")
