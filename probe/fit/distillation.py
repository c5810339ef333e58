"""Distillation from specialists that are trained beside the run's head, on the same batches of one domain (UDON).

Each domain has a teacher, a wider head with a classifier of its own, which learns from labels alone. The student, the
head that the run keeps, learns from labels, and from the teacher of the batch's domain: its class probabilities and its
cosines within the batch. The initial weights of the teachers are drawn from a generator of their own, so that with both
weights at 0 the student gets the bits that it gets without teachers.

    objective = DistillationObjective.build(config, data, generator)      # config.distillation is set
    objective(features, labels, domain=3).backward()
    objective.parts()["logit"]
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from probe.fit.config import DistillationConfig, TrainedConfig
from probe.fit.data import FitData
from probe.fit.objective import Classification, Tensors, number_of_weights
from probe.heads import L2LinearL2, TrainedHead, build_head
from probe.losses import Loss, build_loss, logit_distillation, relation_distillation


class DistillationObjective(Classification):
    """The sum of the student's and the teacher's classification losses and of the weighted logit and relation terms
    (Ypsilantis et al., NeurIPS 2024, figure 2). No gradient of the last two reaches the teacher.

    `teachers` and `teacher_classifiers`: one a domain. Labels and domains as in Classification.
    """

    def __init__(
        self,
        head: TrainedHead,
        classifiers: Sequence[Loss],
        first_classes: Sequence[int],
        teachers: Sequence[nn.Module],
        teacher_classifiers: Sequence[Loss],
        options: DistillationConfig,
    ) -> None:
        super().__init__(head, classifiers, first_classes)
        self.teachers = nn.ModuleList(teachers)
        self.teacher_classifiers = nn.ModuleList(teacher_classifiers)
        self._teacher_losses = tuple(teacher_classifiers)
        self._options = options
        self._parts: Tensors = {}

    @classmethod
    def build(cls, config: TrainedConfig, data: FitData, generator: torch.Generator) -> "DistillationObjective":
        """The student as it is without teachers, and for each domain a teacher: L2, a linear layer, L2, and the run's
        loss."""
        student = Classification.build(config, data, generator)
        options = config.distillation or DistillationConfig()
        seed = int(np.random.SeedSequence([config.seed, 1]).generate_state(1, np.uint64)[0] >> 1)
        of_teachers = torch.Generator(data.device).manual_seed(seed)
        head = L2LinearL2.Config(dim=options.teacher_dim)
        teachers = [build_head(head, data.train.dim, of_teachers) for _ in data.domains]
        sizes = data.class_sizes.split(data.classes_of_domain)
        classifiers = [build_loss(config.loss, part, options.teacher_dim, of_teachers) for part in sizes]
        objective = cls(student.head, student.losses, data.first_classes, teachers, classifiers, options)
        return objective.to(data.device)

    def forward(self, features: torch.Tensor, labels: torch.Tensor, domain: int | None) -> torch.Tensor:
        if domain is None:
            raise ValueError("distillation needs batches of one domain")
        classifier, teacher_classifier = self.losses[domain], self._teacher_losses[domain]
        student, teacher = self.head(features), self.teachers[domain](features)  # (B, d), (B, d')
        own = labels - self._first_classes[domain]
        parts = {"classification": classifier(student, own), "teacher": teacher_classifier(teacher, own)}
        if self._options.logit_weight:
            divergence = logit_distillation(
                student,
                classifier.class_centers,
                teacher,
                teacher_classifier.class_centers,
                self._options.temperature,
                classifier.precision,
            )
            parts["logit"] = self._options.logit_weight * divergence
        if self._options.relation_weight:
            parts["relation"] = self._options.relation_weight * relation_distillation(student, teacher)
        self._parts = {name: part.detach() for name, part in parts.items()}
        return torch.stack(list(parts.values())).sum()

    def sizes(self) -> dict[str, int]:
        beside = number_of_weights(self.teachers) + number_of_weights(self.teacher_classifiers)
        return super().sizes() | {"teachers": beside}

    def parts(self) -> Tensors:
        return self._parts

    def difficulty(self, loss: torch.Tensor) -> torch.Tensor:
        """The teacher's classification loss, as in UDON's code."""
        return self._parts["teacher"]
