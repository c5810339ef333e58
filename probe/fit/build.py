"""From a run's configuration to its objective.

objective = build_objective(config, data, torch.Generator(data.device).manual_seed(config.seed))
"""

import torch

from probe.fit.config import RunConfig
from probe.fit.data import FitData
from probe.fit.distillation import with_teachers
from probe.fit.objective import Classification, Objective
from probe.heads import TrainedHead, build_head
from probe.losses import build_loss


def build_objective(config: RunConfig, data: FitData, generator: torch.Generator) -> Objective:
    """The head, then the classifiers in the order of the domains' names, drawn from the generator, on the device; with
    `distillation`, teachers beside them."""
    if config.training is None or config.loss is None or not isinstance(config.head, TrainedHead.Config):
        raise ValueError("RunConfig gives a trained head both")
    head = build_head(config.head, data.train.dim, generator)
    joint = config.training.classifier == "joint"
    sizes = [data.class_sizes] if joint else data.class_sizes.split(data.classes_of_domain)
    classifiers = [build_loss(config.loss, part, config.head.loss_dim, generator) for part in sizes]
    objective = Classification(head, classifiers, data.first_classes).to(data.device)
    return with_teachers(objective, config, data) if config.distillation else objective
