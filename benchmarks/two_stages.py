"""Whether two stages are better than one on classes that neither was fitted on: class-disjoint cross-validation over
the training classes, and the paired test of mMP@5 over all held-out queries.

The features have to be in the cache.

python -m benchmarks.two_stages pocket mobilenetv1 --data-root FOLDER
python -m benchmarks.two_stages sample descriptor --shrinkage 0.3
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl
import torch
from rich.table import Table

from feature_cache import FeatureStore
from probe.data import resolve_data
from probe.extract import CachedFeatures, Selection
from probe.fit import ClosedFormConfig, FitData, fit_in_closed_form, images_of_training, score
from probe.heads import Discriminant, Distilled
from probe.memory import feature_budget
from probe.metrics import QueryValues, compare
from probe.terminal import printer
from probe.workspace import Workspace

CPU = torch.device("cpu")
FOLDS = 5
TEACHER = 256


def folds(data: FitData) -> np.ndarray:
    """(N,) of each training image; the classes of a domain are dealt out one after the other."""
    order = torch.Generator().manual_seed(0)
    counts = zip(data.first_classes, data.classes_of_domain, strict=True)
    dealt = torch.cat([first + torch.randperm(count, generator=order) for first, count in counts])
    fold = torch.empty(data.classes, dtype=torch.long)
    fold[dealt] = torch.arange(data.classes) % FOLDS
    return fold[data.labels].numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="sample")
    parser.add_argument("backbone", nargs="?", default="descriptor")
    parser.add_argument("--shrinkage", type=float, default=1.0)
    parser.add_argument("--power", type=float, default=1.0)
    parser.add_argument("--data-root", type=Path)
    given = parser.parse_args()
    workspace = Workspace.named(given.data_root, None, None)
    manifest = resolve_data(given.data, workspace.data_root)
    specs = {given.backbone: FeatureStore(workspace.store(manifest.sources[0], given.backbone)).spec}
    features = CachedFeatures(manifest, Selection(backbone=given.backbone), specs, workspace)
    data = FitData(features, CPU, feature_budget(CPU))
    options = {"shrinkage": given.shrinkage, "power": given.power}
    one = Discriminant.Config.model_validate(options)
    two = Distilled.Config(teacher=Discriminant.Config.model_validate(options | {"dim": TEACHER}))
    found: dict[str, list[pl.DataFrame]] = {"one stage": [], "two stages": []}
    of_images = folds(data)
    for fold in range(FOLDS):
        part = data.fold(of_images == fold)
        images = images_of_training(part)
        for name, head in zip(found, (one, two), strict=True):
            config = ClosedFormConfig(backbone=given.backbone, head=head)
            fitted = fit_in_closed_form(config, part, images)
            found[name].append(score(fitted, part.val).per_query["merged"])
    first, second = (QueryValues.of(name, pl.concat(tables), "mMP@5") for name, tables in found.items())
    table = Table(title=f"{given.data}, {given.backbone}: mMP@5 on held-out training classes", title_justify="left")
    for column in ("domain", "one stage", "two stages", "difference", "95 %", "p"):
        table.add_column(column)
    for domain, difference in compare(second, first).items():
        low, high = (100 * end for end in difference.interval)
        values = [100 * each for each in (difference.second, difference.first, difference.difference)]
        table.add_row(domain, *(f"{each:.1f}" for each in values), f"{low:.1f} to {high:.1f}", f"{difference.p:.4f}")
    printer().print(table)


if __name__ == "__main__":
    main()
