"""What `head: auto` loses to the best of its candidates, in mMP@5 of the test split's merged index: with all training
classes, with a few of each domain, and on each domain alone.

Beside the candidates there are discriminants of other shrinkages, of one stage and of two. All are fitted and scored as
a row of a recipe is; the choice sees the training classes alone. The features have to be in the cache.

python -m benchmarks.head_choice pocket mobilenetv1 --data-root FOLDER
python -m benchmarks.head_choice sample descriptor --classes 0 --closed-form
"""

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import torch
from rich.table import Table

from feature_cache import FeatureStore
from probe.data import Manifest, resolve_data
from probe.errors import ProbeError
from probe.extract import CachedFeatures, Selection
from probe.fit import (
    ClosedFormConfig,
    FitData,
    RunConfig,
    TrainedConfig,
    candidates_for,
    choose,
    fit,
    fit_in_closed_form,
    images_of_training,
    score_merged,
    spanned_dimensions,
)
from probe.heads import Auto, Discriminant, Distilled, TrainingImages
from probe.memory import feature_budget
from probe.terminal import printer
from probe.workspace import Workspace

CPU = torch.device("cpu")


def few(manifest: Manifest, count: int) -> Manifest:
    """At most so many training classes of each domain, the first by a hash of their names."""
    train = pl.col("split") == "train"
    names = manifest.frame.filter(train).select("domain", "label").unique()
    order = pl.col("label").map_elements(_hashed, return_dtype=pl.String)
    kept = names.with_columns(order.alias("order")).sort("order").group_by("domain").head(count)
    rows = manifest.frame.join(kept, on=["domain", "label"], how="left", maintain_order="left")["order"].is_not_null()
    return manifest.where_rows((manifest.frame["split"] != "train") | rows)


def _hashed(label: str) -> str:
    return hashlib.sha256(label.encode()).hexdigest()


def subsets(manifest: Manifest, classes: list[int]) -> Iterator[tuple[str, Manifest]]:
    for count in classes:
        yield ("all classes" if not count else f"{count} a domain"), few(manifest, count) if count else manifest
    if 0 in classes and len(manifest.domains) > 1:
        for domain in manifest.domains:
            yield f"{domain} alone", manifest.where_rows(manifest.frame["domain"] == domain)


def rivals(config: ClosedFormConfig, data: FitData, with_trained: bool) -> dict[str, RunConfig]:
    """All that auto chooses among, and discriminants of other shrinkages, of one stage and of two."""
    dim = spanned_dimensions(64, len(data.train), lambda: data.train.take(np.arange(len(data.train))))
    chosen_among = candidates_for(config, data, dim, lambda line: None)
    found = {name: run for name, run in chosen_among.items() if with_trained or not isinstance(run, TrainedConfig)}
    for power in (0.5, 1.0):
        for shrinkage in (0.3, 1.0, 3.0, 10.0):
            head = Discriminant.Config(dim=dim, shrinkage=shrinkage, power=power)
            name = f"discriminant, shrinkage {shrinkage:g}, power {power:g}"
            found[name] = config.model_copy(update={"head": head})
            if len(data.train) > 256:
                teacher = head.model_copy(update={"dim": 256})
                staged = Distilled.Config(dim=dim, teacher=teacher)
                found[f"two stages: {name}"] = config.model_copy(update={"head": staged})
    return found


def scored(config: RunConfig, data: FitData, images: TrainingImages) -> float | None:
    """In percent; None for a head that the images cannot fit."""
    try:
        if isinstance(config, TrainedConfig):
            return 100 * fit(config, data).scores.test.of("clean", "merged").value("mMP@5")
        return 100 * score_merged(fit_in_closed_form(config, data, images), data.test).value("mMP@5")
    except ProbeError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="sample")
    parser.add_argument("backbone", nargs="?", default="descriptor")
    parser.add_argument("--classes", type=int, nargs="*", default=[1, 2, 4, 8, 20, 0], help="a domain; 0 for all")
    parser.add_argument("--closed-form", action="store_true", help="score no trained candidates on test")
    parser.add_argument("--data-root", type=Path)
    given = parser.parse_args()
    workspace = Workspace.named(given.data_root, None, None)
    manifest = resolve_data(given.data, workspace.data_root)
    config = ClosedFormConfig(backbone=given.backbone, head=Auto.Config())
    specs = {given.backbone: FeatureStore(workspace.store(manifest.sources[0], given.backbone)).spec}
    table = Table(title=f"{given.data}, {given.backbone}: mMP@5 on test", title_justify="left")
    for column in ("training classes", "chosen", "scores", "best candidate", "scores", "lost"):
        table.add_column(column)
    for name, part in subsets(manifest, given.classes):
        features = CachedFeatures(part, Selection(backbone=given.backbone), specs, workspace)
        data = FitData(features, CPU, feature_budget(CPU))
        choice, chosen = choose(config, data, None, print)
        images, found = images_of_training(data), {}
        for rival, run in rivals(config, data, not given.closed_form).items():
            if (score := scored(run, data, images)) is not None:
                found[rival] = score
        own = found.get(choice.chosen) or scored(chosen, data, images) or 0.0
        best = max(found, key=lambda each: found[each])
        values = [choice.chosen, f"{own:.1f}", best, f"{found[best]:.1f}", f"{found[best] - own:.1f}"]
        print(name, *values, sep=" | ", flush=True)
        table.add_row(name, *values)
    printer().print(table)


if __name__ == "__main__":
    main()
