"""Choosing among heads by the training classes alone: each is fitted on some of the classes and scored on the others.

The classes of each domain are divided into five folds. After two of them candidates that are far behind go no further.
The default is kept unless the best one beats it by more than a standard error, over the folds, of their difference
(Breiman et al., Classification and Regression Trees, 1984, section 3.4.3). The same images give the same choice.

    choice, chosen = choose(config, data, checkpoint, note)
    choice.chosen, choice.candidates[0].folds
"""

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from probe.errors import ProbeError, UsageError, first_line
from probe.fit.candidates import Candidate, Choice, candidates, epochs_of
from probe.fit.checkpoint import Checkpoint
from probe.fit.closed_form import fit_in_closed_form, images_of_training
from probe.fit.config import ClosedFormConfig, RunConfig, TrainedConfig
from probe.fit.data import FitData, spanned_dimensions
from probe.fit.embedding import score_merged
from probe.fit.trainer import Trainer
from probe.heads import Auto, Head, TrainingImages
from probe.metrics import domains_with_something_to_find

FOLDS = 5
MEASURED = 20  # classes: with fewer, what is held out is too little to tell heads apart
FIRST, BEHIND = 2, 0.02  # folds after which a candidate goes no further that is so far behind the best, in mMP@5
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
    configs = candidates(config, dim, classes / domains)
    default = next(iter(configs))
    folds = _folds(data) if classes >= MEASURED else []
    if len(folds) <= FIRST:
        why = f"the default for {classes} training classes in {domains} domain(s); measuring needs {MEASURED}"
        note(f"auto: {default}: {why}")
        return Choice(chosen=default, why=why, candidates=[]), configs[default]
    note(
        f"auto: {len(configs)} heads, each fitted at most {len(folds)} times on {classes} training classes in "
        f"{domains} domain(s) but for a fifth, the trained ones in {epochs_of(configs)} epochs; then the chosen one"
    )
    found = _measured(configs, data, folds, checkpoint, note)
    choice = chosen_of(found, len(folds))
    for candidate in sorted((each for each in found if each.folds), key=lambda each: -each.mean):
        note(f"auto: {_line(candidate)}{'' if len(candidate.folds) == len(folds) else ', and no further'}")
    note(f"auto: {choice.chosen}: {choice.why}")
    return choice, configs[choice.chosen]


def adopted(chosen: RunConfig, head: Head, data: FitData) -> Auto:
    """The chosen configuration's head as that of a run of `head: auto`."""
    return Auto(data.train.dim, 1, torch.Generator(data.device)).adopt(chosen.head, head).eval()


def chosen_of(found: Sequence[Candidate], folds: int) -> Choice:
    """Of candidates with their scores, the default first. Raises UsageError where none could be fitted."""
    whole = [candidate for candidate in found if len(candidate.folds) == folds]
    if not whole:
        reasons = "; ".join(sorted({candidate.impossible or "" for candidate in found}))
        raise UsageError(f"head 'auto' has no head that these images can fit: {reasons}")
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


def _measured(
    configs: dict[str, RunConfig],
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
    possible = [candidate for candidate in found.values() if candidate.impossible is None]
    if fold < FIRST:
        return [candidate.name for candidate in possible]
    means = {each.name: statistics.mean(each.folds[:FIRST]) for each in possible}
    return [name for name, mean in means.items() if mean >= max(means.values()) - BEHIND]


def _scored(candidate: Candidate, config: RunConfig, part: FitData, images: TrainingImages) -> Candidate:
    try:
        score = _score(config, part, images)
    except ProbeError as error:
        return candidate.model_copy(update={"impossible": first_line(error), "folds": []})
    return candidate.model_copy(update={"folds": [*candidate.folds, score]})


def _score(config: RunConfig, part: FitData, images: TrainingImages) -> float:
    """Of a trained head, after its last epoch: the held-out classes select none."""
    if isinstance(config, TrainedConfig):
        return Trainer(config, part).run(lambda images: None, lambda record: None).last.value(METRIC)
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
    spread = statistics.stdev(candidate.folds) if len(candidate.folds) > 1 else 0.0
    return f"{100 * candidate.mean:.1f} ± {100 * spread:.1f} {candidate.name}"


def _classes(data: FitData) -> Sequence[tuple[int, int]]:
    """Of each domain, its first class and their number."""
    return list(zip(data.first_classes, data.classes_of_domain, strict=True))
