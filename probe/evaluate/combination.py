"""Several finished heads as one: the soup, a head with the mean of their weights, and the ensemble of their embeddings.

head = soup(runs, device)                                  # heads of one shape over the same features
embeddings = ensemble([embed(head, rows, device), ...])    # any heads, on the same rows
"""

from collections.abc import Sequence, Set
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from feature_cache import differences
from probe.errors import UsageError
from probe.extract import Selection
from probe.heads import TrainedHead
from probe.progress import say
from probe.runs import RunDirectory


def soup(runs: Sequence[RunDirectory], device: torch.device) -> nn.Module:
    """A head whose weights, and running statistics, are the means of the runs' (uniform soup of Wortsman et al. 2022).

    Raises UsageError unless the heads are trained, of one shape and over the same features. Weights of different seeds
    are those of unrelated projections and have no meaningful mean: that is said, not refused.
    """
    _require_averageable(runs)
    seeds = sorted({run.config.seed for run in runs})
    if len(seeds) > 1:
        say(
            f"soup of seeds {', '.join(map(str, seeds))}: heads that start apart average poorly; an ensemble suits them"
        )
    members = [run.head(device) for run in runs]
    states = [member.state_dict() for member in members]
    mean = {name: torch.stack([state[name].double() for state in states]).mean(0) for name in states[0]}
    members[0].load_state_dict(mean)
    return members[0]


def ensemble(embeddings: Sequence[torch.Tensor]) -> torch.Tensor:
    """(N, d) each -> (N, sum of d): L2-normalised and side by side, so that a cosine is the mean of the members'."""
    return torch.cat([F.normalize(each, dim=1) for each in embeddings], dim=1)


def _require_averageable(runs: Sequence[RunDirectory]) -> None:
    first = runs[0]
    head = first.config.head
    if not isinstance(head, TrainedHead.Config):
        raise UsageError(f"a soup is of trained heads, and {first.path} is '{head.kind}'; combine an ensemble.")
    if head.averaging_obstacle:
        raise UsageError(f"{first.path} {head.averaging_obstacle}")
    for run in runs[1:]:
        ours, theirs = (_averaged(each, but=head.options_of_training) for each in (first, run))
        lines = differences(ours, theirs)
        if lines:
            raise UsageError(
                f"{first.path} and {run.path} have no common weights to average ({'; '.join(lines)}); "
                "combine an ensemble."
            )


def _averaged(run: RunDirectory, but: Set[str]) -> dict[str, Any]:
    """What has to be the same for weights to mean the same: `but` these options of the head."""
    features = run.config.model_dump(mode="json", include=set(Selection.model_fields))
    head = run.config.head.model_dump(mode="json", exclude=set(but))
    return {"features": features, "spec": run.features.spec, "dim": run.features.dim, "head": head}
