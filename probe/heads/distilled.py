"""A linear student that keeps the cosines of a longer embedding in closed form, its teacher: a head of two stages.

head = Distilled(1152, 64, torch.Generator(), teacher=Discriminant.Config(dim=256)).fit(images)
head(features)      # (B, D) -> (B, 64)
"""

import math
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from pydantic import BeforeValidator, PositiveInt, SerializeAsAny, WithJsonSchema, model_validator
from torch import nn
from torch.nn import functional as F

from probe.errors import UsageError
from probe.heads.base import HEADS, ClosedFormHead, LastStep, Normalize, build_head, linear_layer
from probe.heads.discriminant import Discriminant
from probe.heads.training_images import TrainingImages

IN_A_SCHEMA = WithJsonSchema({"type": "object", "description": "a head in closed form"})
IMAGES = 131_072  # that the student learns from, evenly spaced, where there are more
EPOCHS, BATCH, RATE = 50, 256, 0.01  # of Adam, the rate falling to zero along half a cosine
TAKEN = 8192  # images whose embeddings by the teacher are computed at once


def _teacher(given: Any) -> Any:
    """The configuration of any registered head in closed form."""
    if not isinstance(given, dict):
        return given
    try:
        config = HEADS.find(str(given.get("kind"))).Config
    except UsageError as error:
        raise ValueError(str(error)) from error
    if config.trained:
        raise ValueError(f"head '{given['kind']}' is trained; name one in closed form, such as discriminant")
    return config.model_validate(given)


def cosine_error(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """(B, d) and (B, d') embeddings -> the mean over all pairs of the squared difference between their two cosines."""
    own, given = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    return (own @ own.T - given @ given.T).square().mean()


Teacher = Annotated[SerializeAsAny[ClosedFormHead.Config], BeforeValidator(_teacher), IN_A_SCHEMA]


@HEADS.register
class Distilled(ClosedFormHead):
    """(B, D) -> (B, d): W t/‖t‖, t the teacher's embedding of the image.

    W starts as the teacher's first d dimensions, and is trained to lower the mean squared difference between the
    cosines of a batch's images and their cosines in the teacher's embedding. No label is seen but by the teacher.
    """

    class Config(ClosedFormHead.Config):
        kind: Literal["distilled"] = "distilled"
        dim: PositiveInt = 64
        teacher: Teacher = Discriminant.Config(dim=256)
        """A head in closed form, longer than this one."""

        @model_validator(mode="after")
        def _has_something_to_learn(self) -> Self:
            length = self.teacher.options.get("dim")
            if length is not None and length <= self.dim:
                raise ValueError(f"the teacher has {length} dimensions, and its student {self.dim}; give it more")
            return self

        @property
        def collection(self) -> str | None:
            return self.teacher.collection

    weight: torch.Tensor

    def __init__(self, in_dim: int, dim: int, generator: torch.Generator, teacher: ClosedFormHead.Config) -> None:
        super().__init__()
        self.generator = generator
        self.teacher = build_head(teacher, in_dim, generator)
        length = teacher.embedding_dim(in_dim)
        self.register_buffer("weight", torch.eye(dim, length, device=generator.device))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.teacher(features), dim=1) @ self.weight.T

    def layers(self) -> list[nn.Module]:
        return [*self.teacher.layers(), Normalize(), linear_layer(self.weight, None)]

    def last_step(self) -> LastStep:
        return LastStep(self.teacher.layers(), self.weight.double().cpu())

    def fit(self, images: TrainingImages) -> Self:
        """Fits the teacher, then the student on its embeddings of at most 131,072 images, evenly spaced, which are held
        in memory. Batches are drawn by the generator. Raises UsageError where the teacher does."""
        self.teacher.fit(images)
        teacher = self._embeddings(images)
        weight = self.weight.clone().requires_grad_(True)
        optimizer = torch.optim.Adam([weight], lr=RATE)
        steps = EPOCHS * math.ceil(len(teacher) / BATCH)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(EPOCHS):
            order = torch.randperm(len(teacher), generator=self.generator, device=teacher.device)
            for rows in order.split(BATCH):
                optimizer.zero_grad()
                cosine_error(teacher[rows] @ weight.T, teacher[rows]).backward()
                optimizer.step()
                schedule.step()
        self.weight.copy_(weight.detach())
        return self

    @torch.no_grad()
    def _embeddings(self, images: TrainingImages) -> torch.Tensor:
        """(n, d') float32, of unit length."""
        rows = np.arange(0, len(images), -(-len(images) // IMAGES))
        parts = [rows[start : start + TAKEN] for start in range(0, len(rows), TAKEN)]
        return torch.cat([F.normalize(self.teacher(images.take(part).float()), dim=1) for part in parts])
