"""The images that a head in closed form is fitted on, wherever their features are.

images = TrainingImages.of(features, labels)      # in memory; the engine's come from the store where they do not fit
for rows, block in images.blocks():               # one pass over all, in bounded memory
    ...
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import numpy as np
import torch

Value = TypeVar("Value")

Take = Callable[[np.ndarray], torch.Tensor]
"""From (n,) rows of the training images to their (n, D) features, on the device, as they are stored."""

Blocks = Callable[[], Iterator[tuple[torch.Tensor, torch.Tensor]]]
"""One pass over all images: (n,) rows and (n, D) features at a time, both on the device, as they are stored."""


@dataclass(frozen=True)
class TrainingImages:
    """N images with their classes."""

    labels: torch.Tensor
    """(N,) int64, numbered from 0, on the device of the features; a class is a label within its domain."""

    domains: Sequence[np.ndarray]
    """The rows of each domain, ascending."""

    take: Take
    blocks: Blocks

    collection: Blocks | None = None
    """The index images that a head is fitted to as well, without their labels."""

    _known: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: Any, compute: Callable[[], Value]) -> Value:
        """What several heads compute of these images: by the first, and kept."""
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, features: torch.Tensor, labels: torch.Tensor | None = None) -> Self:
        """(N, D) features in memory, of one domain; without (N,) labels, of one class."""
        rows = torch.arange(len(features), device=features.device)
        if labels is None:
            labels = torch.zeros_like(rows)
        return cls(
            labels,
            [rows.cpu().numpy()],
            lambda chosen: features[torch.from_numpy(chosen)],
            lambda: iter([(rows, features)]),
        )
