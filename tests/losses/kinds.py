"""The losses that there are, as the registry has them, so that none goes untested.

configured("cosface", margin=0.2)      # its configuration, of a kind whose options need not be known here
"""

from typing import Any

from probe.losses import LOSSES, CosineSoftmax, LossConfig

KINDS = list(LOSSES.kinds)
COSINE = [kind for kind in KINDS if issubclass(LOSSES.find(kind), CosineSoftmax)]


def configured(kind: str, **options: Any) -> LossConfig:
    """The kind's defaults but for these options, those of them that it has."""
    config = LOSSES.find(kind).Config
    return config.model_validate({key: value for key, value in options.items() if key in config.model_fields})
