"""Normalised softmax: cosines in place of products, no margin.

NormalisedSoftmax(classes, dim, scale=16.0, generator=generator)
"""

from typing import Literal

from pydantic import PositiveFloat

from probe.losses.base import LOSSES
from probe.losses.cosine import CosineSoftmax, SampledConfig


@LOSSES.register
class NormalisedSoftmax(CosineSoftmax):
    """Cross-entropy of softmax(scale * cos). NormFace: Wang et al., ACM MM 2017, eq. 4. UnED's loss."""

    class Config(SampledConfig):
        kind: Literal["normalised-softmax"] = "normalised-softmax"
        scale: PositiveFloat = 16.0
