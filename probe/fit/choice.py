"""Choosing among heads by the training classes alone.

How much a discriminant shrinks is what makes classes that are left out likeliest, however few they are
(probe/heads/shrinkage.py). Its power, whether two stages are better, or a trained head, is measured: the classes of
each domain are divided into three folds, each head is fitted on two of them and scored on the third, and goes no
further once it is far behind. The default is kept unless the best one beats it by more than a standard error, over the
folds, of their difference (Breiman et al., Classification and Regression Trees, 1984, section 3.4.3). The same images
give the same choice.

    choice, chosen = choose(config, data, checkpoint, note)
    choice.chosen, choice.candidates[0].folds
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from probe.errors import ProbeError, UsageError, first_line
from probe.fit.candidates import POWERS, SOME, TEACHER, Candidate, Choice, candidates, epochs_of
from probe.fit.checkpoint import Checkpoint
from probe.fit.closed_form import fit_in_closed_form, images_of_training
from probe.fit.config import ClosedFormConfig, RunConfig, TrainedConfig
from probe.fit.data import FitData, spanned_dimensions
from probe.fit.embedding import score_merged
from probe.fit.trainer import Trainer
from probe.heads import Auto, Discriminant, Head, TrainingImages, likeliest_shrinkage
from probe.metrics import domains_with_something_to_find

FOLDS = 3
MEASURED = 20  # classes: with fewer, what is held out is too little to tell heads apart
BEHIND = 0.04  # the best, in mMP@5, after one fold, half of it after two and so on: a candidate goes no further
MOST = 1.0  # that a discriminant shrinks where a domain has some classes: the likelihood of four may ask for more
METRIC = "mMP@5"

OnNote = Callable[[str], None]


def choose(
    config: ClosedFormConfig, data: FitData, checkpoint: Checkpoint | None, note: OnNote
) -> tuple[Choice, RunConfig]:
    """The choice, and the configuration that is chosen, of the same seed.

    With a checkpoint each score is kept as it comes, and a choice that was interrupted goes on. Raises UsageError where
    none of the heads can be fitted.
    """
    classes, domains = len(data.class_sizes), len(data.domains)
    asked, images = config.head.embedding_dim(data.train.dim), np.arange(len(data.train))
    dim = spanned_dimensions(asked, len(images), lambda: data.train.take(images))
    if dim < 1:
        raise UsageError(
            "head 'auto' needs two training images at least that differ; take full-dimension, which needs none."
        )
    if dim < asked:
        note(f"auto: {dim} dimensions, which is all that {len(data.train)} training images span")
    configs = candidates_for(config, data, dim, note)
    folds = _folds(data) if classes >= MEASURED else []
    if len(folds) < FOLDS:
        default = _first_possible(configs, data)
        why = f"the default for {classes} training classes in {domains} domain(s); measuring needs {MEASURED}"
        note(f"auto: {default}: {why}")
        return Choice(chosen=default, why=why, candidates=[]), configs[default]
    note(
        f"auto: {len(configs)} heads, each fitted at most {len(folds)} times on {classes} training classes in "
        f"{domains} domain(s) but for a third, the trained ones in {epochs_of(configs)} epochs; then the chosen one"
    )
    found = _measured(configs, data, folds, checkpoint, note)
    choice = chosen_of(found, len(folds))
    for candidate in sorted((each for each in found if each.folds), key=lambda each: -each.mean):
        note(f"auto: {_line(candidate)}{'' if len(candidate.folds) == len(folds) else ', and no further'}")
    note(f"auto: {choice.chosen}: {choice.why}")
    return choice, configs[choice.chosen]


def candidates_for(config: ClosedFormConfig, data: FitData, dim: int, note: OnNote) -> dict[str, RunConfig]:
    """By name, the default first, to so many dimensions."""
    images, rows = images_of_training(data), np.arange(len(data.train))
    classes, shrinkages = len(data.class_sizes) / len(data.domains), {}
    most = MOST if classes >= SOME else math.inf
    for power in POWERS:
        head = Discriminant(data.train.dim, dim, torch.Generator(data.device), power=power)
        if found := likeliest_shrinkage(head, images):
            shrinkages[power] = min(found, most)
    if shrinkages:
        shown = " and ".join(f"{found:g} with power {power:g}" for power, found in shrinkages.items())
        note(f"auto: shrinkage {shown}, by the likelihood of classes left out")
    spanned = spanned_dimensions(2 * TEACHER, len(rows), lambda: data.train.take(rows))
    teacher = min(TEACHER, 3 * spanned // 4)  # so that folds span them too
    return candidates(config, dim, teacher, shrinkages, classes)


def adopted(chosen: RunConfig, head: Head, data: FitData) -> Auto:
    """The chosen configuration's head as that of a run of `head: auto`."""
    return Auto(data.train.dim, 1, torch.Generator(data.device)).adopt(chosen.head, head).eval()


def chosen_of(found: Sequence[Candidate], folds: int) -> Choice:
    """Of candidates with their scores, the default first. Raises UsageError where none could be fitted."""
    whole = [candidate for candidate in found if len(candidate.folds) == folds]
    if not whole:
        raise _impossible([candidate.impossible for candidate in found if candidate.impossible])
    default, best = whole[0], max(whole, key=lambda candidate: candidate.mean)
    gains = [theirs - own for theirs, own in zip(best.folds, default.folds, strict=True)]
    gain, error = statistics.mean(gains), statistics.stdev(gains) / folds**0.5
    if default is not found[0]:
        chosen, why = best, f"the best on held-out classes; {found[0].name} is none that goes on"
    elif gain > error:
        chosen, why = best, f"on held-out classes {100 * gain:.1f} ± {100 * error:.1f} better than {default.name}"
    else:
        chosen, why = default, "no other is better on held-out classes by more than a standard error"
    return Choice(chosen=chosen.name, why=why, candidates=list(found))


def _first_possible(configs: Mapping[str, RunConfig], data: FitData) -> str:
    """Of those in closed form."""
    images, reasons = images_of_training(data), []
    for name, config in configs.items():
        if isinstance(config, ClosedFormConfig):
            try:
                fit_in_closed_form(config, data, images)
            except UsageError as error:
                reasons.append(first_line(error))
            else:
                return name
    raise _impossible(reasons)


def _impossible(reasons: Sequence[str]) -> UsageError:
    return UsageError(f"head 'auto' has no head that these images can fit: {'; '.join(dict.fromkeys(reasons))}")


def _measured(
    configs: Mapping[str, RunConfig],
    data: FitData,
    folds: Sequence[np.ndarray],
    checkpoint: Checkpoint | None,
    note: OnNote,
) -> list[Candidate]:
    device = data.device.type
    kept = {each.name: each for each in (checkpoint.candidates(device) if checkpoint else [])}
    found = {name: kept.get(name, Candidate(name=name, folds=[])) for name in configs}
    for number, held_out in enumerate(folds):
        start, part = time.monotonic(), data.fold(held_out)
        images = images_of_training(part)
        for name in _going_on(found, number):
            if len(found[name].folds) > number:
                continue
            found[name] = _scored(found[name], configs[name], part, images)
            if checkpoint is not None:
                checkpoint.write_candidates(device, list(found.values()))
        if number == 0:
            note(f"auto: the first of {len(folds)} folds took {time.monotonic() - start:.0f} s")
    return list(found.values())


def _going_on(found: dict[str, Candidate], fold: int) -> list[str]:
    means = {each.name: sum(each.folds[:fold]) for each in found.values() if _in_the_race(each, fold)}
    return [name for name, total in means.items() if total >= max(means.values()) - BEHIND]


def _in_the_race(candidate: Candidate, fold: int) -> bool:
    return candidate.impossible is None and len(candidate.folds) >= fold


def _scored(candidate: Candidate, config: RunConfig, part: FitData, images: TrainingImages) -> Candidate:
    try:
        score = _score(config, part, images)
    except ProbeError as error:
        return candidate.model_copy(update={"impossible": first_line(error), "folds": []})
    return candidate.model_copy(update={"folds": [*candidate.folds, score]})


def _score(config: RunConfig, part: FitData, images: TrainingImages) -> float:
    """Of a trained head, after its last epoch: the held-out classes select none."""
    if isinstance(config, TrainedConfig):
        head = Trainer(config, part).train()
    else:
        head = fit_in_closed_form(config, part, images)
    return score_merged(head, part.val, config.distance, [METRIC]).value(METRIC)


def _folds(data: FitData) -> list[np.ndarray]:
    """(N,) Whether a training image is held out, for each fold that has something to find. The classes of a domain are
    dealt out one after the other, the next domain's from where this one's end."""
    order = torch.Generator().manual_seed(0)
    dealt = [first + torch.randperm(count, generator=order) for first, count in _classes(data)]
    fold = torch.empty(len(data.class_sizes), dtype=torch.long)
    fold[torch.cat(dealt)] = torch.arange(len(fold)) % FOLDS
    of_images = fold[data.labels.cpu()].numpy()
    parts = [of_images == number for number in range(FOLDS)]
    return [held_out for held_out in parts if domains_with_something_to_find(data.fold(held_out).val.frame)]


def _line(candidate: Candidate) -> str:
    spread = f" ± {100 * statistics.stdev(candidate.folds):.1f}" if len(candidate.folds) > 1 else ""
    return f"{100 * candidate.mean:.1f}{spread} {candidate.name}"


def _classes(data: FitData) -> Sequence[tuple[int, int]]:
    """Of each domain, its first class and their number."""
    return list(zip(data.first_classes, data.classes_of_domain, strict=True))
