"""The domains that runs name, held against those that their images are of, before any feature is loaded.

training_images(features)                       # {"cars": 6346, "food": 472349}
require_domains([run.config], features)         # UsageError for `domain: car`
"""

from collections.abc import Collection, Mapping, Sequence

import polars as pl

from probe.errors import UsageError, nearest
from probe.extract import CachedFeatures
from probe.fit.config import RunConfig, TrainedConfig
from probe.fit.plan import TrainingPlan
from probe.fit.training import BALANCED, Training
from probe.losses import LossConfig
from probe.metrics import domains_with_something_to_find


def training_images(features: CachedFeatures) -> dict[str, int]:
    """How many there are of each domain, in the order of the domains' names; empty where none are read."""
    if "train" not in features.splits:
        return {}
    return dict(features.frame("train").group_by("domain").len().sort("domain").iter_rows())


def images_of(config: RunConfig, sizes: Mapping[str, int]) -> int:
    """How many of them a run trains on: all, or those of a specialist's domain."""
    return sum(sizes.values()) if config.domain is None else sizes.get(config.domain, 0)


def require_domains(configs: Sequence[RunConfig], features: CachedFeatures) -> None:
    """Raises UsageError where a run cannot be trained on these images for what it says of domains, or they lack a split
    that it reads."""
    for split in {split for config in configs for split in config.splits}:
        features.frame(split)
    sizes = training_images(features)
    val = features.frame("val") if "val" in features.splits else None
    specialists = any(config.domain is not None for config in configs)
    findable = domains_with_something_to_find(val) if specialists and val is not None else None
    for config in configs:
        if config.domain is not None:
            require_specialist(config.domain, sizes, findable)
        if not isinstance(config, TrainedConfig) or val is None:
            continue
        own = sizes if config.domain is None else {config.domain: sizes[config.domain]}
        require_sampler(config.training, own)
        require_trained_head(TrainingPlan(config.training, sum(own.values())))
        require_selection(config.training, val if config.domain is None else val.filter(domain=config.domain))
        if config.loss.least_classes > 1:
            joint = not config.training.classifier.per_domain
            require_classes(config.loss, features.frame("train").filter(pl.col("domain").is_in(list(own))), joint)


def require_specialist(domain: str, domains: Collection[str], findable: Collection[str] | None) -> None:
    """Raises UsageError for a domain that is not one of the training images' or has nothing to find in validation.
    `findable`: the domains that have; None where there is no validation."""
    if domain not in domains:
        raise UsageError(f"domain: there are no training images of '{domain}'; {nearest(domain, domains)}")
    if findable is not None and domain not in findable:
        raise UsageError(f"domain: no validation query of '{domain}' has anything to find; name another domain.")


def require_sampler(training: Training, sizes: Mapping[str, int]) -> None:
    """Raises UsageError unless the domains that a sampler is told are those of the training images, each once, and an
    epoch has a step."""
    for key, named in training.sampler.domain_lists().items():
        for name in named:
            if name not in sizes:
                raise UsageError(f"training.{key}: there are no training images of '{name}'; {nearest(name, sizes)}")
        missing = sorted(sizes.keys() - set(named))
        if missing or len(set(named)) < len(named):
            wrong = f"leaves out '{missing[0]}'" if missing else "has a domain twice"
            raise UsageError(f"training.{key} {wrong}; name each domain of the training images once.")
    images = training.length.epoch_images(sum(sizes.values()))
    if training.sampler.single_domain and images < training.batch:
        raise UsageError(
            f"training.batch: an epoch of {images:,} images has no whole batch of {training.batch:,}; lower it, or "
            "take `sampler: uniform`, whose last batch may be short."
        )


def require_trained_head(plan: TrainingPlan) -> None:
    """Raises UsageError where the head would be frozen in every step, so that there is no epoch to select."""
    if not plan.head_is_trained(plan.epochs):
        raise UsageError(
            f"training.freeze_head_epochs: {plan.frozen_steps} of {plan.steps} steps are frozen, which leaves none to "
            "train the head; lower it or train longer."
        )


def require_selection(training: Training, val: pl.DataFrame) -> None:
    """Raises UsageError where the domain that selects the epoch has no validation query with anything to find."""
    chosen = training.select_on
    domains = val["domain"].unique().sort().to_list()
    if chosen not in (BALANCED, *domains):
        raise UsageError(
            f"training.select_on: validation has no domain '{chosen}'; {nearest(chosen, [BALANCED, *domains])}"
        )
    if chosen not in (BALANCED, *domains_with_something_to_find(val)):
        raise UsageError(f"training.select_on: no validation query of '{chosen}' has anything to find; name another.")


def require_classes(loss: LossConfig, train: pl.DataFrame, joint: bool) -> None:
    """Raises UsageError where one of its classifiers has fewer classes than the loss is defined for."""
    classes = dict(train.group_by("domain").agg(pl.col("label").n_unique()).sort("domain").iter_rows())
    if joint:
        classes = {", ".join(classes): sum(classes.values())}
    for domains, count in classes.items():
        if count < loss.least_classes:
            raise UsageError(
                f"loss: a classifier of '{loss.kind}' needs at least {loss.least_classes} classes, and the training "
                f"images of {domains} have {count}; take another loss."
            )
