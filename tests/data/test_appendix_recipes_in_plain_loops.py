"""Every training set of the appendix and M4D-35k, drawn from made-up data sets, against plain loops that know nothing
of the recipes' files: what each row takes is written down here from the paper and its released code."""

import hashlib
import os
import random
import subprocess
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from probe.data.curated import Curated, curate
from probe.data.curation import Curation, read_curations
from probe.data.manifest import COLUMNS, Manifest
from tests.conftest import slow

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "recipes" / "curation"
SEED = 42
SHRINK = 500  # classes drawn here are that many times fewer

Cell = tuple[str, str, str, str, str, str]


class Takes(NamedTuple):
    """What is taken of a data set; the split that the released code trains on."""

    data: str
    least: int = 3
    cap: int | None = None
    classes: int | None = None
    split: str = "train"


PRODUCTS = Takes("products-10k")
SUBSET = Takes("gldv2", cap=10, classes=10_000)
DEEPFASHION, MET, SHOPEE = Takes("deepfashion-c2s"), Takes("met"), Takes("shopee")
BASE, BEFORE_CARS = [PRODUCTS, SUBSET], [PRODUCTS, SUBSET, DEEPFASHION]


def landmarks(cap: int, classes: int | None = None) -> list[Takes]:
    return [PRODUCTS, Takes("gldv2", cap=cap, classes=classes)]


PAPER = {
    "a1": [
        [PRODUCTS],
        *(landmarks(cap) for cap in (100, 75, 50, 40, 30, 20, 10)),
        *(landmarks(10, classes) for classes in (38_000, 20_000, 10_000)),
    ],
    "a2": [
        BASE + added
        for added in (
            [DEEPFASHION],
            [MET],
            [SHOPEE],
            [DEEPFASHION, MET],
            [DEEPFASHION, SHOPEE],
            [MET, SHOPEE],
            [DEEPFASHION, MET, SHOPEE],
        )
    ],
    "a3": [
        [*BASE, Takes("hm")],
        [*BASE, Takes("fashion-200k")],
        [*BASE, Takes("deepfashion2")],
        [*BASE, Takes("rp2k", cap=100)],
        [*BASE, Takes("sop")],
    ],
    "a4": [
        [*BEFORE_CARS, Takes("food-recognition-2022", least=1)],
        [*BEFORE_CARS, Takes("food-101", least=1, split="test")],
        [*BEFORE_CARS, Takes("stanford-cars")],
        [*BEFORE_CARS, Takes("stanford-cars-refined")],
        [*BEFORE_CARS, Takes("furniture-180", least=1)],
        [*BEFORE_CARS, Takes("storefronts-146")],
    ],
}


def recipe(table: str) -> list[Curation]:
    """With so many times fewer classes to draw."""
    found = []
    for each in read_curations(RECIPES / f"appendix-{table}.yaml"):
        sources = [
            source.model_copy(update={"classes": source.classes and source.classes // SHRINK})
            for source in each.sources
        ]
        found.append(each.model_copy(update={"sources": sources}))
    return found


def cells(name: str) -> list[Cell]:
    """A data set of that name: classes of 1 to 120 images, labels that all data sets share, and a test split."""
    rng = random.Random(name)
    number = 120 if name == "gldv2" else 8
    sizes = [1, 2, 3, 101, 120, *(rng.randint(1, 60) for _ in range(number))]
    family = name.removesuffix("-refined")
    train = [
        (f"{name}/{c:03}/{i}.jpg", family, f"{c:03}", "x", "train", "train")
        for c, n in enumerate(sizes)
        for i in range(n)
    ]
    return train + [
        (f"test/{c}/{i}.jpg", family, f"{c:03}", "x", "test", "both") for c in range(3) for i in range(c + 1)
    ]


def manifest(rows: list[Cell]) -> Manifest:
    return Manifest(pl.DataFrame(rows, COLUMNS, orient="row"), {rows[0][1]: Path("/data") / rows[0][1]})


def rank(*words: str) -> bytes:
    return hashlib.blake2b("\0".join(words).encode(), digest_size=8).digest()


def taken(takes: Takes) -> set[tuple[str, str, str]]:
    """Source, image and label, in plain loops: the minimum, then the cap, then the classes."""
    images = defaultdict(list)
    for image, source, label, _, split, _ in cells(takes.data):
        if split == takes.split:
            images[label].append((source, image))
    kept = {label: sorted(of, key=lambda each: rank(str(SEED), "image", *each)) for label, of in images.items()}
    kept = {label: of[: takes.cap] for label, of in kept.items() if len(of) >= takes.least}
    labels = sorted(kept, key=lambda label: rank(str(SEED), "class", label))
    labels = labels[: takes.classes // SHRINK] if takes.classes else labels
    return {(source, image, f"{source}/{label}") for label in labels for source, image in kept[label]}


def drawn(curated: Curated) -> set[tuple[str, str, str]]:
    return set(curated.manifest.frame.select("source", "image", "label").iter_rows())


@pytest.mark.parametrize("table", ["a1", *(slow(table) for table in PAPER if table != "a1")])
def test_every_row_of_the_appendix_takes_what_the_paper_and_its_code_say(table: str) -> None:
    curations = recipe(table)
    assert len(curations) == len(PAPER[table])
    for each, takes in zip(curations, PAPER[table], strict=True):
        assert [source.data for source in each.sources] == [one.data for one in takes]
        curated = curate(each, lambda name: manifest(cells(name)))
        assert drawn(curated) == set().union(*map(taken, takes)), each.name
        assert set(curated.manifest.frame.select("split", "role").iter_rows()) == {("train", "train")}
        assert each.released is None


def test_m4d_35k_is_the_last_configuration_of_the_appendix_with_the_refined_cars() -> None:
    (m4d,) = read_curations(RECIPES / "m4d-35k.yaml")
    refined = next(each for each in read_curations(RECIPES / "appendix-a4.yaml") if each.name == "a4-cars-refined")
    without = {"expected": {}}
    assert [each.model_copy(update=without) for each in m4d.sources] == [
        each.model_copy(update=without) for each in refined.sources
    ]
    assert m4d.seed == refined.seed


@pytest.mark.slow
def test_the_rows_of_appendix_table_1_are_nested() -> None:
    sets = [drawn(curate(each, lambda name: manifest(cells(name)))) for each in recipe("a1")]
    products, *with_landmarks = sets
    for larger, smaller in pairwise(with_landmarks):
        assert products < smaller < larger


@pytest.mark.slow
def test_one_data_set_gives_the_same_images_to_every_row_of_every_table() -> None:
    of_gldv2 = {
        frozenset(each for each in drawn(curate(one, lambda name: manifest(cells(name)))) if each[0] == "gldv2")
        for table in ("a2", "a3", "a4")
        for one in recipe(table)
    }
    (small,) = (one for one in recipe("a1") if one.name == "a1-max10-10k")
    assert of_gldv2 == {
        frozenset(each for each in drawn(curate(small, lambda name: manifest(cells(name)))) if each[0] == "gldv2")
    }


DIGEST = """
import random, sys
import tests.data.test_appendix_recipes_in_plain_loops as here
from probe.data.curated import curate
rows = lambda name: random.Random(int(sys.argv[1])).sample(here.cells(name), len(here.cells(name)))
print(curate(here.recipe("a2")[-1], lambda name: here.manifest(rows(name))).manifest.digest)
"""


@pytest.mark.slow
def test_neither_threads_nor_the_hash_seed_nor_the_order_of_rows_change_a_training_set() -> None:
    here = curate(recipe("a2")[-1], lambda name: manifest(cells(name))).manifest.digest
    for threads, seed in (("1", "0"), ("3", "1")):
        variables = os.environ | {"POLARS_MAX_THREADS": threads, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", DIGEST, seed]
        done = subprocess.run(command, cwd=ROOT, env=variables, check=True, capture_output=True, text=True)
        assert done.stdout.strip() == here
