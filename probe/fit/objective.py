"""What a training step minimizes, with everything that is trained in it: the head that the run keeps, and classifiers.

Classes are numbered over all domains, each domain's without a gap, so that a domain's classifier takes its labels by
subtracting its first class.

    objective = Classification(head, classifiers, first_classes)
    objective(features, labels, domain=3).backward()       # (B, D), (B,) -> ()
"""

from collections.abc import Sequence

import torch
from torch import nn

from probe.fit.config import TrainedConfig
from probe.fit.data import FitData
from probe.heads import TrainedHead, build_head
from probe.losses import Loss, build_loss

Tensors = dict[str, torch.Tensor]


class Objective(nn.Module):
    """`head`: what the run keeps; it is the first of the parameters. All others are gone when the run is done.

    `forward` takes (B, D) float32 features, (B,) int64 class numbers over all domains, and the number of the domain
    that all of the batch is of, None for a mixed batch; it returns a scalar.
    """

    head: TrainedHead

    def difficulty(self, loss: torch.Tensor) -> torch.Tensor:
        """What the sampler `dynamic` goes by, of the batch whose `loss` forward has just returned: a scalar."""
        return loss.detach()

    def parts(self) -> Tensors:
        """What the loss that forward has just returned is the sum of, by name, without a graph; empty for one part."""
        return {}

    def sizes(self) -> dict[str, int]:
        """How many weights are trained, by what they are of."""
        raise NotImplementedError

    def kept(self) -> Tensors:
        """What the run keeps beside the head, by name."""
        return {}


class Classification(Objective):
    """The head's embeddings, classified: by one classifier over all classes (UnED's joint classifier), or by the one of
    the batch's domain (separate; Ypsilantis et al., ICCV 2023, section 4.1).

    `first_classes`: of each domain where there is a classifier for each; a single classifier is of all domains.
    """

    def __init__(self, head: TrainedHead, classifiers: Sequence[Loss], first_classes: Sequence[int]) -> None:
        super().__init__()
        self.head = head
        self.classifiers = nn.ModuleList(classifiers)
        self.losses = tuple(classifiers)
        self._first_classes = tuple(first_classes)

    @classmethod
    def build(cls, config: TrainedConfig, data: FitData, generator: torch.Generator) -> "Classification":
        """The head, then the classifiers in the order of the domains' names, drawn from the generator, on the
        device."""
        head = build_head(config.head, data.train.dim, generator)
        separate = config.training.classifier.per_domain
        sizes = data.class_sizes.split(data.classes_of_domain) if separate else [data.class_sizes]
        classifiers = [build_loss(config.loss, part, config.head.loss_dim, generator) for part in sizes]
        return Classification(head, classifiers, data.first_classes).to(data.device)

    def sizes(self) -> dict[str, int]:
        return {"head": number_of_weights(self.head), "classes": number_of_weights(self.classifiers)}

    def forward(self, features: torch.Tensor, labels: torch.Tensor, domain: int | None) -> torch.Tensor:
        embeddings = self.head(features)
        if len(self.classifiers) == 1:
            return self.classifiers[0](embeddings, labels)
        if domain is None:
            raise ValueError("separate classifiers need batches of one domain")
        return self.classifiers[domain](embeddings, labels - self._first_classes[domain])

    def kept(self) -> Tensors:
        """What the losses keep beside their class matrices: t, statistics, a scale. Of separate classifiers the names
        begin with the number of the domain."""
        weights = {name for name, _ in self.classifiers.named_parameters()}
        state = {name: value for name, value in self.classifiers.state_dict().items() if name not in weights}
        return {name.removeprefix("0.") if len(self.classifiers) == 1 else name: value for name, value in state.items()}


def number_of_weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
