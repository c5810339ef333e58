"""What the specialists of a row tell together: the oracle's scores, and how many steps each domain wants.

The oracle knows the query's domain: that domain's specialist embeds the query and the whole index (UnED section 4.1).

    oracle_scores(runs, "clean", "merged").mean["mMP@5"]
    measured_steps(runs)                         # {"cars196": 539, "food2k": 11070}
"""

import math
from collections.abc import Sequence

from probe.errors import UsageError
from probe.fit import TrainedConfig
from probe.metrics import Scores, balanced_mean
from probe.runs.directory import Run


def by_seed(runs: Sequence[Run]) -> list[list[Run]]:
    """A seed's specialists, one a domain, seed by seed."""
    seeds = dict.fromkeys(run.config.seed for run in runs)
    return [[run for run in runs if run.config.seed == seed] for seed in seeds]


def oracle_scores(specialists: Sequence[Run], protocol: str, index: str) -> Scores:
    """Scores as those of one run: each domain's values are its own specialist's, the mean is theirs."""
    scores = {str(run.config.domain): run.scores.test.of(protocol, index) for run in specialists}
    domains = {domain: of_all.domains[domain] for domain, of_all in scores.items()}
    metrics = list(next(iter(domains.values())).values)
    return Scores(mean=balanced_mean(domains, metrics, protocol), domains=domains)


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
