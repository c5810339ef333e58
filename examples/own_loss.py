# pyright: strict
"""A loss of your own beside ArcFace, in a table: a softmax of cosines whose labels are smoothed, in plain PyTorch.

    python examples/own_loss.py

The recipe beside this file, own_loss.yaml, names the loss as `own_loss:SmoothedSoftmax`. The same by commands, in this
folder: `probe table own_loss.yaml`. More: docs/losses.md.
"""

from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, PositiveFloat
from torch import nn
from torch.nn import functional as F

from probe.losses import Loss, class_matrix


class SmoothedSoftmax(Loss):
    """Cross-entropy of scale * cos(embedding, class), `smoothing` of each label shared by all classes
    (Szegedy et al., CVPR 2016, section 7)."""

    class Config(Loss.Config):
        smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
        scale: PositiveFloat = 16.0

    def __init__(self, classes: int, dim: int, generator: torch.Generator, smoothing: float, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(class_matrix("xavier", classes, dim, generator))
        self.smoothing, self.scale = smoothing, scale

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        cosines = F.normalize(embeddings, dim=1) @ F.normalize(self.weight, dim=1).T  # (B, d) @ (d, C)
        return F.cross_entropy(self.scale * cosines, labels, label_smoothing=self.smoothing)


if __name__ == "__main__":
    from probe.planning import Inventory, complete
    from probe.recipes import read_recipe
    from probe.report import build_table, show
    from probe.terminal import printer
    from probe.workspace import Workspace

    recipe, workspace = read_recipe(Path(__file__).with_suffix(".yaml")), Workspace.of_user()
    complete(recipe, workspace, "auto")  # features and runs; what is there already is skipped
    show(build_table(Inventory(recipe, workspace)), printer())
