"""A head applied to all rows of a split, block by block, wherever their features are.

embed(head, data.val)      # (N, d) float32, in the rows' order
"""

import torch
from torch import nn

from probe.fit.placement import SplitRows
from probe.retrieval.evaluation import Evaluation, evaluate


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


def score(head: nn.Module, rows: SplitRows) -> Evaluation:
    """The embeddings of the split, searched and scored."""
    return evaluate(rows.frame, embed(head, rows))
