"""The runs of a row with specialists: grouped by seed, and how many steps each domain's specialist took.

by_seed(runs)                    # [[cars of seed 0, food of seed 0], [cars of seed 1, food of seed 1]]
measured_steps(by_seed(runs)[0])                    # {"cars196": 539, "food2k": 11070}
"""

import math
from collections.abc import Sequence

from probe.errors import UsageError
from probe.fit import TrainedConfig
from probe.runs import Run


def by_seed(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs of each seed: one, or of specialists one a domain."""
    seeds = dict.fromkeys(run.config.seed for run in runs)
    return [[run for run in runs if run.config.seed == seed] for seed in seeds]


def measured_steps(specialists: Sequence[Run]) -> dict[str, int]:
    """The selected epoch x floor(training images / batch) of each domain's finished specialist: UnED's
    `specialist_top_steps`. Raises UsageError where a domain has less than a batch."""
    steps = {}
    for run in specialists:
        images, selected = run.scores.training_images, run.scores.selected_epoch or 0
        batch = run.config.training.batch if isinstance(run.config, TrainedConfig) else math.inf
        if images < batch:
            raise UsageError(f"{run.path}: {images} training images are less than a batch; lower training.batch.")
        steps[str(run.config.domain)] = selected * int(images // batch)
    return steps
