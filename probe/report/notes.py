"""What a reader has to know of a table's runs, a line each: images and queries left out, training that did not help.

notes(inventory)        # ["characters: 3 queries have nothing to find and are left out"]
"""

from collections.abc import Iterator

import polars as pl

from probe.errors import nearest
from probe.heads import Discriminant
from probe.planning import Inventory
from probe.runs import Run

FEW_CLASSES = 200  # with up to 173, which is what was measured, the discriminant was better (docs/heads.md)


def notes(inventory: Inventory) -> list[str]:
    """In the order in which they stand below the table."""
    return [
        *_features_that_are_equal(inventory),
        *_fitted_to_the_collection(inventory),
        *_drawn_validation(inventory),
        *_undecodable_images(inventory),
        *_queries_left_out(inventory),
        *_trained_on_one_class(inventory),
        *_training_that_did_not_help(inventory),
        *_few_classes(inventory),
        *_unknown_columns(inventory),
    ]


def _features_that_are_equal(inventory: Inventory) -> Iterator[str]:
    for name in sorted({each.selection.features_name for each in inventory.features.values() if each.all_equal}):
        yield f"{name}: the features of all images are equal, so no score of them means anything"


def _trained_on_one_class(inventory: Inventory) -> Iterator[str]:
    for row in inventory.recipe.rows:
        done = [run for runs in inventory.finished(row) for run in runs]
        found = [run for run in done if run.scores.classes == 1]
        if found:
            which = ", ".join(_seed_and_domain(run) for run in found)
            yield f"{row.name}: trained on images of one class, from which there is nothing to learn: {which}"


def _fitted_to_the_collection(inventory: Inventory) -> Iterator[str]:
    if names := [row.name for row in inventory.recipe.rows if row.collection]:
        yield f"{', '.join(names)}: has seen the index images, not their labels, and is not ranked among the others"


def _drawn_validation(inventory: Inventory) -> Iterator[str]:
    """Of the rows that select their epoch on classes of the training images."""
    names_by_place: dict[str, list[str]] = {}
    for row in inventory.recipe.rows:
        if (features := inventory.features_of(row)) and inventory.draws_validation(row):
            names_by_place.setdefault(features.manifest.where, []).append(row.name)
    for place, names in names_by_place.items():
        yield f"{', '.join(names)}: epochs are selected on classes that train nothing (`training.val`): {place}"


def _undecodable_images(inventory: Inventory) -> Iterator[str]:
    """Of all that rows read of a backbone."""
    by_name: dict[str, list[pl.DataFrame]] = {}
    for features in inventory.features.values():
        left_out = features.left_out.select("source", "image", "split")
        by_name.setdefault(features.selection.features_name, []).append(left_out)
    for name, parts in by_name.items():
        left_out = pl.concat(parts).unique()
        if not left_out.is_empty():
            examples = ", ".join(left_out["image"].unique().sort()[:3])
            yield f"{name}: {len(left_out):,} rows left out, undecodable images: {examples}"


def _queries_left_out(inventory: Inventory) -> list[str]:
    display = inventory.recipe.display
    done = (run for runs in inventory.runs_of.values() for run in runs if run.done)
    return sorted(
        {
            f"{domain}: {score.nothing_to_find:,} queries have nothing to find and are left out"
            for run in done
            for domain, score in display.scores_of(run.scores.test, display.indexes[0]).domains.items()
            if score.nothing_to_find
        }
    )


def _training_that_did_not_help(inventory: Inventory) -> Iterator[str]:
    for row in inventory.recipe.rows:
        done = [run for runs in inventory.finished(row) for run in runs]
        found = [run for run in done if run.scores.training_did_not_help]
        if found:
            which = ", ".join(_seed_and_domain(run) for run in found)
            yield f"{row.name}: no epoch is better on validation than the head before training: {which}"


def _few_classes(inventory: Inventory) -> Iterator[str]:
    """Advice, where there is no discriminant beside trained heads."""
    rows = inventory.recipe.rows
    if any(isinstance(run.head, Discriminant.Config) for row in rows for run in row.runs):
        return
    names_by_classes: dict[int, list[str]] = {}
    for row in rows:
        finished = inventory.finished(row)
        classes = finished[0][0].scores.classes if finished and not row.specialists else None
        if classes and classes < FEW_CLASSES:
            names_by_classes.setdefault(classes, []).append(row.name)
    for classes, names in names_by_classes.items():
        yield (
            f"{', '.join(names)}: trained on {classes:,} classes; with so few, `head: {{kind: discriminant}}` has been "
            "better, and with fewer than 30 the raw features: docs/heads.md, 'How many classes a head needs'"
        )


def _seed_and_domain(run: Run) -> str:
    return f"seed {run.config.seed}" + (f" of {run.config.domain}" if run.config.domain else "")


def _unknown_columns(inventory: Inventory) -> list[str]:
    recipe = inventory.recipe
    domains = inventory.manifest.domains if inventory.manifest else list(recipe.columns)
    unknown = [domain for domain in recipe.columns if domain not in domains]
    return [f"columns: '{name}' is no domain of {recipe.data}; {nearest(name, domains)}" for name in unknown]
