"""What options that make a training step cheaper cost in retrieval: bf16 products, and a share of the classes a step.

bf16: the rows of a recipe, each seed with fp32 and with bf16 products, on cached features; mMP@5 on test, the mean over
the seeds, query by query. Where the CPU has no bfloat16 it is emulated: factors are rounded to it, summed in float32.
sampled: ArcFace on made-up features of many classes, R@1 among classes that were not trained on.

python -m benchmarks.cheaper_steps bf16 recipes/pocket-losses.yaml --data-root FOLDER --cache FOLDER
python -m benchmarks.cheaper_steps sampled --classes 10000
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from rich.table import Table
from torch.overrides import TorchFunctionMode

from benchmarks.closed_form import made
from benchmarks.gpu.world import saved
from feature_cache import FeatureStore
from probe.data import resolve_data
from probe.extract import CachedFeatures
from probe.fit import FitData, Fitted, TrainedConfig, fit
from probe.memory import feature_budget
from probe.metrics import MEAN, QueryValues, averaged, compare
from probe.precision import Precision, choose_precision
from probe.recipes import read_recipe
from probe.terminal import printer
from probe.workspace import Workspace

CPU = torch.device("cpu")
SHARES = (None, 0.5, 0.2, 0.1, 0.05)
SEEDS = (0, 1, 2)
IMAGES_A_CLASS, DIM = 4, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("option", choices=("bf16", "sampled"))
    parser.add_argument("recipe", type=Path, nargs="?", default=Path("recipes/pocket-losses.yaml"))
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--classes", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    if options.option == "bf16":
        bf16(options.recipe, Workspace.named(options.data_root, options.cache, None))
    else:
        sampled(options.classes, options.epochs)


# ---- bf16 ----


def bf16(recipe_file: Path, workspace: Workspace) -> None:
    recipe = read_recipe(recipe_file)
    manifest = resolve_data(recipe.data, workspace.data_root)
    emulated = choose_precision("auto", CPU)[0] != Precision.bf16
    table = Table(title=f"{recipe.title}: mMP@5, bf16 products{' (emulated)' if emulated else ''}")
    for column in ("loss", "fp32", "bf16", "difference", "95 %", "p", "seeds"):
        table.add_column(column, justify="right")
    data: FitData | None = None
    for row in recipe.rows:
        if data is None:
            stores = {b.name: FeatureStore(workspace.store(manifest.sources[0], b.name)).spec for b in row.backbones}
            data = FitData(CachedFeatures(manifest, row.selection, stores, workspace), CPU, feature_budget(CPU))
        found: dict[str, list[QueryValues]] = {"fp32": [], "bf16": []}
        for config in row.runs:
            for precision, values in found.items():
                with bfloat16_products(emulated and precision == "bf16"):
                    fitted = fit(with_option(config, precision=precision), data)
                values.append(QueryValues.of(row.name, fitted.per_query["merged"], "mMP@5"))
        both = compare(averaged(found["bf16"]), averaged(found["fp32"]))[MEAN]
        low, high = (100 * end for end in both.interval)
        cells = [f"{100 * each:.2f}" for each in (both.second, both.first, both.difference)]
        table.add_row(row.name, *cells, f"{low:.2f} to {high:.2f}", f"{both.p:.3f}", str(len(row.runs)))
    printer().print(table)


def with_option(config: Any, **options: Any) -> TrainedConfig:
    return config.model_copy(update={"loss": config.loss.model_copy(update=options)})


class _Rounded(TorchFunctionMode):
    """Factors of those products that are to be of bfloat16: rounded to it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.get_float32_matmul_precision() == "medium":
            if func is torch.mm:
                args = [each.bfloat16().float() for each in args]
            elif func is torch.Tensor.addmm_:
                args = [args[0], *(each.bfloat16().float() for each in args[1:])]
        return func(*args, **(kwargs or {}))


@contextmanager
def bfloat16_products(emulated: bool) -> Iterator[None]:
    if not emulated:
        yield
        return
    with _Rounded():
        yield


# ---- a share of the classes ----


def sampled(classes: int, epochs: int) -> None:
    """Of as many more classes as are trained on, a tenth is validated on and a tenth tested on."""
    held_out = classes // 10
    images = (classes + 2 * held_out) * IMAGES_A_CLASS
    features, labels = made(images, DIM, classes + 2 * held_out)
    number = labels.numpy()
    split = np.where(number < classes, "train", np.where(number < classes + held_out, "val", "test"))
    role = np.where(split == "train", "train", "both")
    frame = pl.DataFrame({"label": number.astype(str), "split": split, "role": role})
    table = Table(title=f"ArcFace, {classes:,} classes of {IMAGES_A_CLASS} made-up images, {epochs} epochs")
    for column in ("sample", "R@1 of unseen classes", "seeds", "a step"):
        table.add_column(column, justify="right")
    with saved(features, frame) as cached:
        data = FitData(cached, CPU, feature_budget(CPU))
        for share in SHARES:
            start = time.process_time()
            fits = [fit(arcface(share, epochs, seed), data) for seed in SEEDS]
            values = [100 * each.scores.test.of("clean", "merged").value("R@1") for each in fits]
            spent = (time.process_time() - start) / len(fits)
            table.add_row(
                "all" if share is None else f"{share:g}",
                f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}",
                str(len(SEEDS)),
                f"{milliseconds(fits):.1f} ms",
            )
            print(f"{share}: {values}, {spent:.0f} s of processor time a fit", flush=True)
    printer().print(table)


def milliseconds(fits: list[Fitted]) -> float:
    """Of a step, the median fit's."""
    return 1000 * float(np.median([each.seconds_a_step or 0 for each in fits]))


def arcface(share: float | None, epochs: int, seed: int) -> TrainedConfig:
    return TrainedConfig.model_validate(
        {
            "backbone": "synthetic",
            "head": {"kind": "linear"},
            "loss": {"kind": "arcface", "sample": share},
            "training": {"epochs": epochs, "select_by": "R@1"},
            "seed": seed,
        }
    )


if __name__ == "__main__":
    main()
