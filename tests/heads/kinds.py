"""The heads that there are, as the registry has them, so that none goes untested."""

from typing import Any

import torch

from probe.heads import HEADS, ClosedFormHead, Head, HeadConfig, TrainedHead, TrainingImages, build_head

IN_DIM, DIM = 24, 8
SMALL: dict[str, Any] = {"dim": DIM, "hidden": 16, "teacher": {"kind": "discriminant", "dim": 16}}


def configured(kind: str, **options: Any) -> HeadConfig:
    """Small, and else its defaults but for these options, those of them that it has."""
    config = HEADS.find(kind).Config
    return config.model_validate({key: value for key, value in (SMALL | options).items() if key in config.model_fields})


def fitted(config: HeadConfig, features: torch.Tensor) -> Head:
    """As the engine has it at the end of an epoch, or of the fit in closed form."""
    generator = torch.Generator().manual_seed(0)
    head = build_head(config, features.shape[1], generator)
    if isinstance(head, TrainedHead):
        head.train()(features)
        head.after_epoch(len(features), lambda rows: features[rows])
    elif isinstance(head, ClosedFormHead):
        head = head.fit(TrainingImages.of(features, torch.arange(len(features)) % 50))
    return head
