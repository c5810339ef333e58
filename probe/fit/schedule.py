"""UniFEx's learning-rate schedule, step by step.

learning_rate(step=0, steps_per_epoch=2566, training=Training())      # about 4e-6
"""

import math

from probe.fit.config import Training


def learning_rate(step: int, steps_per_epoch: int, training: Training) -> float:
    """lr(t) = [lr_min + (lr - lr_min) (1 + cos(πt/T)) / 2] · min(1, (t + 1) / W), t counted from 0.

    The cosine runs from step 0 through the warm-up over all T steps, so the peak stays just below `lr` (UniFEx's code).
    """
    total = training.epochs * steps_per_epoch
    warmup = training.warmup_epochs * steps_per_epoch
    cosine = training.lr_min + 0.5 * (training.lr - training.lr_min) * (1 + math.cos(math.pi * step / total))
    return cosine * (min(1.0, (step + 1) / warmup) if warmup > 0 else 1.0)
