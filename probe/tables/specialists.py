"""What the specialists of a row tell together: the oracle's scores, and how many steps each domain wants.

The oracle knows the query's domain: that domain's specialist embeds the query and the whole index (UnED section 4.1).

    oracle_scores(runs, read)       # {"domains": {"cars196": ...}, "mean": {"mMP@5": 0.61, "R@1": 0.7}}
    measured_steps(runs)            # {"cars196": 539, "food2k": 11070}
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from probe.errors import UsageError
from probe.fit.run import Run


def by_seed(runs: Sequence[Run]) -> list[list[Run]]:
    """A seed's specialists, one a domain, seed by seed."""
    seeds = dict.fromkeys(run.config.seed for run in runs)
    return [[run for run in runs if run.config.seed == seed] for seed in seeds]


def oracle_scores(specialists: Sequence[Run], read: Callable[[Run], dict[str, Any]]) -> dict[str, Any]:
    """A summary as that of one run: each domain's values are its own specialist's, the mean is theirs.

    `read`: the summary of a run that the table shows, {"mean": ..., "domains": ...}.
    """
    domains = {str(run.config.domain): read(run)["domains"][run.config.domain] for run in specialists}
    metrics = read(specialists[0])["mean"]
    values = {metric: [scores[metric] for scores in domains.values()] for metric in metrics}
    known = {metric: [value for value in found if value is not None] for metric, found in values.items()}
    return {
        "mean": {metric: statistics.fmean(found) if found else None for metric, found in known.items()},
        "domains": domains,
    }


def measured_steps(specialists: Sequence[Run]) -> dict[str, int]:
    """The selected epoch x floor(training images / batch) of each domain's finished specialist: UnED's
    `specialist_top_steps`. Raises UsageError where a domain has less than a batch."""
    steps = {}
    for run in specialists:
        training, images = run.config.training, run.metrics["training_images"]
        if training is None or images < training.batch:
            raise UsageError(f"{run.path}: {images} training images are less than a batch; lower training.batch.")
        steps[str(run.config.domain)] = run.metrics["selected_epoch"] * (images // training.batch)
    return steps
