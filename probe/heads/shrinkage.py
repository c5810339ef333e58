"""How much a discriminant has to shrink, by the training classes: those that are left out say how likely each is.

Retrieval on held-out classes says nothing of it where there are a handful; the likelihood speaks of each image.

    likeliest_shrinkage(Discriminant(1152, 64, torch.Generator(), power=0.5), images)     # 0.5
"""

import torch

from probe.heads.discriminant import Discriminant
from probe.heads.training_images import TrainingImages

SHRINKAGES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
FOLDS = 5  # of classes; with fewer classes of two images, one each


def likeliest_shrinkage(head: Discriminant, images: TrainingImages) -> float | None:
    """Of SHRINKAGES, for heads of this one's power; None with fewer than two classes of two images.

    Each fold's images, as they differ from the means of their classes, are taken as normal, with the covariance S + λI
    of the other folds (Discriminant); the sum of these log-likelihoods is what is largest. One pass over the images in
    float64, and sums of (C, 600) and (5, 600, 600). Raises UsageError where the discriminant does.
    """
    sizes = torch.bincount(images.labels)
    paired = sizes > 1
    folds = min(FOLDS, int(paired.sum()))
    if folds < 2:
        return None
    of_class = torch.where(paired, (paired.cumsum(0) - 1) % folds, 0)
    scatter, freedom = _scatter_within(head, images, of_class)
    shrinkages = scatter.new_tensor(SHRINKAGES)[:, None]
    likelihood = torch.zeros_like(shrinkages[:, 0])
    for left_out, weight in zip(scatter, freedom, strict=True):
        values, vectors = torch.linalg.eigh((scatter.sum(0) - left_out) / (freedom.sum() - weight))
        variances = values.clamp_min(0) + shrinkages * values.sum() / 1000  # (s, m)
        found = ((left_out @ vectors) * vectors).sum(0)  # (m,) vᵀ B v
        likelihood -= (weight * variances.log() + found / variances).sum(1) / 2
    return SHRINKAGES[int(likelihood.argmax())]


def _scatter_within(
    head: Discriminant, images: TrainingImages, of_class: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(F, m, m) The scatter of each fold's images around the means of their classes, in the principal components, and
    (F,) its degrees of freedom. `of_class`: (C,) folds."""
    spread, sizes = head.class_spread(images), torch.bincount(images.labels)
    folds, components = int(of_class.max()) + 1, spread.components.shape[1]
    scatter = spread.components.new_zeros(folds, components, components)
    sums = spread.components.new_zeros(len(sizes), components)
    for rows, block in images.blocks():
        inner = (head.unit(block.double()) - spread.mean) @ spread.components  # (n, m)
        labels = images.labels[rows]
        sums.index_add_(0, labels, inner)
        for fold in range(folds):
            part = inner[of_class[labels] == fold]
            scatter[fold].addmm_(part.T, part)
    sums /= sizes[:, None].sqrt()
    for fold in range(folds):
        part = sums[of_class == fold]
        scatter[fold].addmm_(part.T, part, alpha=-1)
    freedom = torch.zeros_like(scatter[:, 0, 0]).index_add_(0, of_class, (sizes - 1).double())
    return scatter, freedom
