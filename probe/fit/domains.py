"""The domains that runs name, held against those that their images are of, before any feature is loaded.

sizes = training_images(features)              # {"cars": 6346, "food": 472349}
require_domains(run.config, features, sizes)   # UsageError for `domain: car`
"""

from collections.abc import Collection, Mapping

import polars as pl

from probe.errors import UsageError, nearest
from probe.extract.features import CachedFeatures
from probe.fit.config import RunConfig, Training
from probe.retrieval.evaluation import domains_with_something_to_find


def training_images(features: CachedFeatures) -> dict[str, int]:
    """How many there are of each domain, in the order of the domains' names."""
    return dict(features.frame("train").group_by("domain").len().sort("domain").iter_rows())


def images_of(config: RunConfig, sizes: Mapping[str, int]) -> int:
    """How many of them a run trains on: all, or those of a specialist's domain."""
    return sum(sizes.values()) if config.domain is None else sizes.get(config.domain, 0)


def require_domains(config: RunConfig, features: CachedFeatures, sizes: Mapping[str, int]) -> None:
    """Raises UsageError where a run cannot be trained on these images for what it says of domains."""
    if config.domain is not None:
        require_specialist(config.domain, sizes, features.frame("val"))
        sizes = {config.domain: sizes[config.domain]}
    if config.training is not None and config.training.one_domain_a_step:
        require_sampler(config.training, sizes)


def require_specialist(domain: str, domains: Collection[str], validation: pl.DataFrame) -> None:
    """Raises UsageError for a domain without training images, or with nothing to find in validation."""
    if domain not in domains:
        raise UsageError(f"domain: there are no training images of '{domain}'; {nearest(domain, domains)}")
    if domain not in domains_with_something_to_find(validation):
        raise UsageError(f"domain: no validation query of '{domain}' has anything to find; name another domain.")


def require_sampler(training: Training, sizes: Mapping[str, int]) -> None:
    """Raises UsageError unless the domains that a sampler is told are those of the training images, each once, and an
    epoch has a step."""
    for key in ("domains", "specialist_steps"):
        named = getattr(training, key)
        if named is None:
            continue
        for name in named:
            if name not in sizes:
                raise UsageError(f"training.{key}: there are no training images of '{name}'; {nearest(name, sizes)}")
        missing = sorted(sizes.keys() - set(named))
        if missing or len(set(named)) < len(named):
            wrong = f"leaves out '{missing[0]}'" if missing else "has a domain twice"
            raise UsageError(f"training.{key} {wrong}; name each domain of the training images once.")
    images = training.validate_every or sum(sizes.values())
    if images < training.batch:
        raise UsageError(
            f"training.batch: an epoch of {images:,} images has no whole batch of {training.batch:,}; lower it, or "
            "take `sampler: uniform`, whose last batch may be short."
        )
