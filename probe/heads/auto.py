"""The head that was chosen among several, by what the training classes say (probe/fit/choice.py): it is one of them.

head = Auto(1152, 64, torch.Generator()).adopt(Discriminant.Config(dim=64, shrinkage=3.0), fitted)
head(features)      # what the fitted head gives
"""

import json
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import PositiveInt
from torch import nn

from probe.heads.base import HEADS, ClosedFormHead, Head, LastStep, build_head
from probe.heads.random_projection import RandomProjection


@HEADS.register
class Auto(Head):
    """(B, D) -> (B, d), by the head that it has adopted; before that a random projection.

    Its state has the configuration of that head as bytes of JSON, so that a file of it needs nothing beside it.
    """

    class Config(ClosedFormHead.Config):
        chosen: ClassVar[bool] = True

        kind: Literal["auto"] = "auto"
        dim: PositiveInt = 64
        """At most: fewer training images than that span fewer."""

    config: torch.Tensor

    def __init__(self, in_dim: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self._in_dim, self._device = in_dim, generator.device
        self.register_buffer("config", torch.zeros(0, dtype=torch.uint8, device=generator.device))
        self.head: Head = RandomProjection(in_dim, dim, generator)
        self.register_load_state_dict_pre_hook(_adopt_what_is_loaded)

    def adopt(self, config: Head.Config, head: Head) -> Self:
        """Becomes a head that was built by this configuration; itself."""
        return self._become(json.dumps(config.model_dump(mode="json")).encode(), head)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.head(features)

    def layers(self) -> list[nn.Module]:
        return self.head.layers()

    def last_step(self) -> LastStep:
        return self.head.last_step()

    def rebuild(self, text: bytes) -> Self:
        """Adopts a head as the configuration in `text` builds it, for its weights to be loaded."""
        given = json.loads(text)
        config = HEADS.find(given["kind"]).Config.model_validate(given)
        return self._become(text, build_head(config, self._in_dim, torch.Generator(self._device)).to(self._device))

    def _become(self, text: bytes, head: Head) -> Self:
        self.config = torch.tensor(list(text), dtype=torch.uint8, device=self._device)
        self.head = head
        return self


def _adopt_what_is_loaded(head: nn.Module, state: dict[str, torch.Tensor], prefix: str, *_: Any) -> None:
    assert isinstance(head, Auto)
    text = state.get(f"{prefix}config")
    if text is not None and len(text):
        head.rebuild(bytes(text.tolist()))
