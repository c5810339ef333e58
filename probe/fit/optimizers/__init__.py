"""How the weights are updated, a file each optimizer or two that differ in little.

A new file here, or a class of the user's named `package.module:Class`, is an optimizer like these (docs/fitting.md).
"""

from probe.fit.optimizers.base import (
    OPTIMIZERS,
    build_optimizer,
    hold_gradients,
    optimizer_tensors,
    restore_optimizer,
    set_rate,
)

__all__ = ["OPTIMIZERS", "build_optimizer", "hold_gradients", "optimizer_tensors", "restore_optimizer", "set_rate"]
