"""Which source files decide a run's numbers, and a digest of each, so that a change to one of them makes the run stale.

A number's files are the entry of fitting, the modules of the kinds that the configuration names, and what these import
from the packages that make numbers. A digest is of the parsed code: comments, docstrings and layout are not in it.

    code_of_run(config)      # {"probe/fit/trainer.py": "3f0c...", "probe/losses/arcface.py": "91ab...", ...}

A registry finds the files of its package without importing them by name; the loss that is meant comes in by the
configuration, whose class stands in the loss's module.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from probe import source
from probe.fit import ClosedFormConfig, RunConfig, TrainedConfig, candidates
from probe.metrics import METRICS, parse_metric

MAKING_NUMBERS = ("heads", "losses", "search", "metrics", "fit", "evaluate")
DECLARATIONS = {  # they say what may be configured, which the key has by its values, hold results, or stop a run
    "probe.fit.checkpoint",
    "probe.fit.choices",
    "probe.fit.config",
    "probe.fit.divergence",
    "probe.fit.domains",
    "probe.fit.history",
    "probe.fit.scores",
}
FITTING = "probe.fit.fitted"
CHOOSING = "probe.fit.choice"
SCORING = "probe.metrics.evaluation"
NAMED = 3  # files in a message


def code_of_run(config: RunConfig) -> dict[str, str]:
    """By file, as `probe/losses/arcface.py`: the code that fits and scores a run of this configuration."""
    chosen_among = {}
    if isinstance(config, ClosedFormConfig) and config.head.chosen:
        chosen_among = candidates(config, 1, 2, {1.0: 1.0}, 1.0)
    modules = set().union(*map(modules_of, [config, *chosen_among.values()]))
    unused = set.intersection(*(set(_unused(each)) for each in chosen_among.values() or [config]))
    return code_of([FITTING, *modules, *scoring_modules(METRICS)], unused if chosen_among else {*unused, CHOOSING})


def code_of(modules: Iterable[str], unused: Iterable[str] = ()) -> dict[str, str]:
    """By file, sorted: the modules, and what they import of those that make numbers, without those that are unused."""
    return source.code_of(modules, makes_numbers, unused)


def makes_numbers(module: str) -> bool:
    """Whether this module of probe does."""
    package = module.split(".")[1:2]
    return bool(package) and package[0] in MAKING_NUMBERS and module not in DECLARATIONS


def modules_of(config: Any) -> set[str]:
    """The modules of the classes of a configuration and all of its parts, and of the user's own kinds in it."""
    if isinstance(config, BaseModel):
        own = {type(config).__module__}
        kind = getattr(config, "kind", None)
        if isinstance(kind, str) and ":" in kind:
            own.add(kind.partition(":")[0])
        return own.union(*(modules_of(getattr(config, name)) for name in type(config).model_fields))
    parts = config.values() if isinstance(config, Mapping) else config if isinstance(config, list | tuple) else ()
    return set().union(*map(modules_of, parts))


def changed_code(before: Mapping[str, str] | None, now: Mapping[str, str]) -> str | None:
    """What of the code is not as it was, as `losses/arcface.py`; None where all is. `before`: None where a run of an
    earlier version of probe does not say."""
    if before is None:
        return source.OWN
    files = sorted({file for file, _ in before.items() ^ now.items()})
    if not files:
        return None
    names = [file.removeprefix(f"{source.OWN}/") for file in files]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def scoring_modules(metrics: Iterable[str]) -> set[str]:
    """The modules that search and compute these metrics."""
    return {SCORING, *(type(parse_metric(name)).__module__ for name in metrics)}


def _unused(config: RunConfig) -> list[str]:
    """Modules that fitting imports, and does nothing with under this configuration."""
    if not isinstance(config, TrainedConfig):
        return ["probe.fit.trainer"]
    options = {"probe.fit.distillation": config.distillation, "probe.fit.sharpness": config.training.sharpness}
    return [module for module, option in options.items() if option is None]
