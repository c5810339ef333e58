"""Which images each training step sees, a file each sampler or family of samplers.

A new file here, or a class of the user's named `package.module:Class`, is a sampler like these (docs/fitting.md).

    training: {sampler: round-robin, domains: [food, cars]}        # as a recipe has it
    sampler = build_sampler(training, plan, data, seed=0)
"""

from probe.fit.samplers.base import SAMPLERS, Sampler, StepBlock, build_sampler
from probe.fit.samplers.order import Order
from probe.fit.samplers.single_domain import SingleDomainSampler

__all__ = ["SAMPLERS", "Order", "Sampler", "SingleDomainSampler", "StepBlock", "build_sampler"]
