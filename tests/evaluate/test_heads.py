"""Runs over fused features, views and sizes are scored again as they were; soups and ensembles are what they say."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from safetensors.torch import load_file

from feature_cache import Failure, Rows, StoreWriter
from probe import heads, losses
from probe.data.manifest import Manifest
from probe.errors import UsageError
from probe.evaluate.combination import ensemble
from probe.evaluate.external import external_source
from probe.evaluate.folder import EvaluationSettings, evaluate_once
from probe.evaluate.heads import distance_of, features_for, head_source
from probe.extract.features import CachedFeatures
from probe.extract.selection import Selection
from probe.fit import ClosedFormConfig, RunConfig, read_run_config
from probe.metrics import SplitScores, evaluate
from probe.runs import PER_QUERY, Run, RunDirectory, sweep
from probe.workspace import Workspace
from tests.conftest import slow
from tests.fit.world import features_of as world_features
from tests.fit.world import linear, small_manifest

STORES = {"one": 0, "two": 1, "vit@train": 2, "vit@test": 2}
FAILED = {"two": "test/cars/0/3.jpg"}


@dataclass(frozen=True)
class Lab:
    """A workspace with the stores of a few backbones, and the runs fitted in it."""

    workspace: Workspace
    frame: pl.DataFrame

    def features(self, choice: Selection, splits: Sequence[str] = ("train", "val", "test")) -> CachedFeatures:
        asked = {name: {} for split in splits for name in choice.stores(split)}
        return CachedFeatures(Manifest(self.frame), choice, asked, self.workspace, splits)

    def run(self, config: RunConfig) -> RunDirectory:
        features = self.features(config)
        run = Run(config, features.identity, self.workspace.runs)
        sweep([(run, features)], "cpu")
        return RunDirectory(run.path)

    def rescore(self, *runs: RunDirectory, combine: Any = None) -> tuple[Path, SplitScores]:
        features = features_for(runs, "small", "test", self.workspace)
        source = head_source(runs, features, "test", combine, "cpu")
        result = evaluate_once(source, EvaluationSettings(split="test"), self.workspace.evaluations)
        return result.path, result.scores


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("lab")
    workspace = Workspace(folder / "data", folder / "cache", folder / "out")
    frame = small_manifest()
    (workspace.data_root / "small").mkdir(parents=True)
    frame.write_csv(workspace.data_root / "small" / "manifest.csv")
    for number, (name, seed) in enumerate(STORES.items()):
        features = world_features(frame, seed=seed) + (0.01 * number)
        for source in frame["source"].unique().sort():
            rows = frame.with_row_index("row").filter(
                pl.col("source") == source, pl.col("image") != FAILED.get(name, "")
            )
            sizes = np.random.default_rng(5).integers(100, 2000, (len(rows), 2))
            failed = [Failure(name_, "truncated") for name_ in FAILED.values() if name in FAILED and "cars" in source]
            model = name.partition("@")[0]
            spec = {"backbone": {"model": model, "library": "built-in"}, "preprocessing": {"view": name}}
            with StoreWriter(workspace.store(source, name), spec) as writer:
                writer.add(Rows(rows["image"].to_list(), features[rows["row"].to_numpy()], sizes), failed)
                writer.finish()
    return Lab(workspace, frame)


def of(backbone: str | list[str], seed: int = 0, **options: Any) -> RunConfig:
    return read_run_config(linear(seed).model_dump() | {"backbone": backbone} | options)


def own_test(run: RunDirectory) -> SplitScores:
    return SplitScores.model_validate(json.loads((run.path / "metrics.json").read_text())["test"])


@pytest.mark.parametrize(
    "config",
    [
        slow(of("one")),
        slow(of(["one", "two"])),
        of("vit", views=True),
        of(["two", "one"], append=["width", "height", "aspect"]),
        slow(of("one", head={"kind": "l2-linear-l2", "dim": 8})),
        of("one", head={"kind": "batch-norm-linear", "hidden": 16, "dim": 8}),
        slow(of("one", head={"kind": "batch-norm-linear", "hidden": 16, "dim": 8, "reduction": "average-pooling"})),
    ],
    ids=lambda config: f"{config.features_name} {config.head.kind}",
)
def test_a_run_scored_again_on_its_own_data_scores_the_same(lab: Lab, config: RunConfig) -> None:
    run = lab.run(config)
    assert lab.rescore(run)[1] == own_test(run)
    assert json.loads((run.path / "metrics.json").read_text())["dim"] == 8
    assert run.path.name.startswith(config.features_name.replace("/", "-"))


def test_a_runs_embeddings_in_a_file_score_what_the_run_scored(lab: Lab, tmp_path: Path) -> None:
    run = lab.run(of("one"))
    rows = lab.features(of("one")).split("test")
    embeddings = torch.from_numpy(rows.features.astype(np.float32)) @ torch.from_numpy(weights(run)["weight"].T).float()
    order = np.random.default_rng(0).permutation(len(rows.frame))
    np.save(tmp_path / "mine.npy", (embeddings.numpy() + weights(run)["bias"].astype(np.float32))[order])
    images = rows.frame.select(pl.concat_str("source", "image", separator="/")).to_series()
    (tmp_path / "ids.txt").write_text("\n".join(images[order]))
    settings = EvaluationSettings(split="test")
    arguments = (tmp_path / "mine.npy", tmp_path / "ids.txt", "", Manifest(lab.frame), settings, "cpu")
    result = evaluate_once(external_source(*arguments), settings, lab.workspace.evaluations)
    assert result.scores == own_test(run)
    for index in ("merged", "separate"):
        theirs, ours = result.per_query(index), pl.read_parquet(run.path / PER_QUERY[index])
        assert theirs.drop("similarities").equals(ours.drop("similarities"))


def test_runs_by_different_distances_are_combined_by_one_that_is_said(lab: Lab) -> None:
    runs = [lab.run(of("one", distance=distance)) for distance in ("cosine", "euclidean")]
    assert [distance_of([run]) for run in runs] == ["cosine", "euclidean"]
    with pytest.raises(UsageError, match="choose with --distance"):
        distance_of(runs)


def test_what_failed_in_one_backbone_is_left_out_of_a_fused_run_and_counted_once(lab: Lab) -> None:
    run = lab.run(of(["one", "two"]))
    assert json.loads((run.path / "metrics.json").read_text())["left_out"] == 1
    assert FAILED["two"] not in pl.read_parquet(run.path / "per_query.parquet")["image"]


def test_a_last_batch_of_one_image_is_trained_on_with_batch_normalisation(lab: Lab) -> None:
    training = {"epochs": 2, "batch": 239, "lr": 0.1}  # of 240 images
    run = lab.run(of("one", head={"kind": "batch-norm-linear", "hidden": 16, "dim": 8}, training=training))
    assert all(values.isfinite().all() for values in load_file(run.path / "head.safetensors").values())


def weights(run: RunDirectory) -> dict[str, np.ndarray]:
    return {name: value.double().numpy() for name, value in load_file(run.path / "head.safetensors").items()}


def embeddings_by_hand(lab: Lab, config: RunConfig, weight: np.ndarray, bias: np.ndarray) -> torch.Tensor:
    rows = lab.features(config).split("test")
    return torch.from_numpy(rows.features.astype(np.float64) @ weight.T + bias).float()


def test_a_soup_has_the_mean_of_the_weights(lab: Lab) -> None:
    other = losses.ArcFace.Config(scale=8).model_dump()
    runs = [lab.run(of("one")), lab.run(of("one", loss=other)), lab.run(of("one", training={"epochs": 1, "batch": 16}))]
    mean = {name: np.mean([weights(run)[name] for run in runs], axis=0) for name in ("weight", "bias")}
    by_hand = embeddings_by_hand(lab, of("one"), mean["weight"], mean["bias"])
    expected = evaluate(lab.features(of("one")).split("test").frame, by_hand)
    path, _ = lab.rescore(*runs, combine="soup")
    written = pl.read_parquet(path / "per_query.parquet")["similarities"].explode()
    np.testing.assert_allclose(written, expected.per_query["merged"]["similarities"].explode(), atol=1e-5)


@pytest.mark.slow
def test_the_code_that_combines_is_in_the_key_of_a_combination_and_of_no_other_evaluation(lab: Lab) -> None:
    runs = [lab.run(of("one")), lab.run(of("two"))]
    for combine, members in (("ensemble", runs), (None, runs[:1])):
        path, _ = lab.rescore(*members, combine=combine)
        code = yaml.safe_load((path / "config.yaml").read_text())["code"]
        assert ("probe/evaluate/combination.py" in code) == (combine is not None)
        assert "probe/fit/embedding.py" in code


def test_an_ensemble_ranks_by_the_mean_of_its_members_cosines(lab: Lab) -> None:
    """Over different backbones; what failed in one is left out of both."""
    whole = ClosedFormConfig(backbone="one", head=heads.FullDimension.Config())
    runs = [lab.run(of("one")), lab.run(of("two")), lab.run(whole)]
    path, scores = lab.rescore(*runs, combine="ensemble")
    written = pl.read_parquet(path / "per_query.parquet")
    assert len(written) == 59
    frame = lab.features(of(["one", "two"])).split("test").frame
    usable = [
        i for i, image in enumerate(lab.features(of("one")).split("test").frame["image"]) if image != FAILED["two"]
    ]
    cosines = np.zeros((59, 59))
    for run in runs:
        rows = lab.features(run.config).split("test").features.astype(np.float64)
        rows = rows[usable] if run.config.backbone == "one" else rows
        if run.config.head.kind == "linear":
            rows = rows @ weights(run)["weight"].T + weights(run)["bias"]
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        cosines += unit @ unit.T / 3
    place = {image: row for row, image in enumerate(frame["image"])}
    for image, neighbours, similarities in written.select("image", "neighbours", "similarities").iter_rows():
        row = cosines[place[image]].copy()
        row[place[image]] = -2
        np.testing.assert_allclose(similarities, np.sort(row)[::-1][: len(similarities)], atol=1e-5)
        np.testing.assert_allclose(row[[place[name] for name in neighbours]], similarities, atol=1e-5)
    assert scores.of("clean", "merged").domains["cars"].queries == 29


def test_the_cosine_of_an_ensemble_is_the_mean_of_its_members() -> None:
    generator = torch.Generator().manual_seed(0)
    members = [torch.randn(5, dim, generator=generator) * 10**dim for dim in (2, 3, 7)]
    both = torch.nn.functional.normalize(ensemble(members), dim=1)
    cosines = [torch.nn.functional.normalize(member, dim=1) for member in members]
    expected = torch.stack([unit @ unit.T for unit in cosines]).mean(0)
    torch.testing.assert_close(both @ both.T, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("combine", ["soup", "ensemble"])
def test_the_order_of_the_runs_does_not_matter_and_nothing_is_scored_twice(lab: Lab, combine: str) -> None:
    runs = [lab.run(of("one", seed=seed)) for seed in (0, 1, 2)]
    path, scores = lab.rescore(*runs, combine=combine)
    before = (path / "metrics.json").stat().st_mtime_ns
    assert lab.rescore(*runs[::-1], combine=combine) == (path, scores)
    assert (path / "metrics.json").stat().st_mtime_ns == before
    config = yaml.safe_load((path / "config.yaml").read_text())
    assert (config["combine"], config["split"]) == (combine, "test")
    assert sorted(member["key"] for member in config["runs"]) == sorted(run.key for run in runs)
    assert lab.rescore(*runs[:2], combine=combine)[0] != path


@pytest.mark.slow
def test_a_soup_of_other_seeds_is_scored_with_a_warning(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [lab.run(of("one", seed=seed)) for seed in (3, 4)]
    lab.rescore(*runs, combine="soup")
    assert "soup of seeds 3, 4: heads that start apart average poorly" in capsys.readouterr().err


@pytest.mark.slow
def test_runs_that_are_no_combination_are_refused(lab: Lab) -> None:
    one, two = lab.run(of("one")), lab.run(of("one", seed=1))
    with pytest.raises(UsageError, match="several runs: say how to combine them, with --combine soup or"):
        lab.rescore(one, two)
    for runs in ([one], [one, one], [one, two, one]):
        with pytest.raises(UsageError, match="--combine soup is for several different runs; name each once"):
            lab.rescore(*runs, combine="soup")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (of("one", head={"kind": "linear", "dim": 4}), r"no common weights to average \(head\.dim: \d, not \d\)"),
        (of("two"), r"no common weights to average \(features\.backbone: "),
        (of("one", head={"kind": "linear-l2", "dim": 8}), r"head\.kind: "),
    ],
)
def test_heads_of_another_shape_or_over_other_features_make_no_soup(lab: Lab, other: RunConfig, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        lab.rescore(lab.run(of("one")), lab.run(other), combine="soup")


@pytest.mark.slow
def test_heads_without_averageable_weights_make_no_soup(lab: Lab) -> None:
    pca = [of("one", seed, head={"kind": "batch-norm-linear", "hidden": 16, "dim": 8}) for seed in (0, 1)]
    with pytest.raises(UsageError, match="directions of different PCAs have no mean"):
        lab.rescore(*map(lab.run, pca), combine="soup")
    random = [ClosedFormConfig(backbone="one", head=heads.RandomProjection.Config(dim=8), seed=seed) for seed in (0, 1)]
    with pytest.raises(UsageError, match=r"a soup is of trained heads, and .* is 'random-projection'"):
        lab.rescore(*map(lab.run, random), combine="soup")


def test_each_missing_backbone_is_named_once_with_its_command(lab: Lab, tmp_path: Path) -> None:
    runs = [lab.run(of(["one", "two"])), lab.run(of("two")), lab.run(of("vit", views=True))]
    elsewhere = Workspace(lab.workspace.data_root, tmp_path, tmp_path)
    with pytest.raises(UsageError) as caught:
        features_for(runs, "small", "test", elsewhere)
    commands = str(caught.value).split(" First run: ")[1].split("; ")
    assert [command.split("--backbone ")[1].split()[0] for command in commands] == ["one", "two", "vit@test"]
    assert all("--split test" in command for command in commands)


def test_an_unfinished_run_is_not_scored(lab: Lab, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(lab.run(of("one")).path, copied)
    (copied / "metrics.json").unlink()
    with pytest.raises(UsageError, match=r"^.*copied is an unfinished run: metrics\.json, .* is missing; fit again\.$"):
        lab.rescore(RunDirectory(copied))
    (copied / "config.yaml").unlink()
    with pytest.raises(UsageError, match="copied is not a finished run; name one of the folders that `probe fit` made"):
        lab.rescore(RunDirectory(copied))


def test_runs_over_the_same_features_share_them(lab: Lab) -> None:
    runs = [lab.run(of("one")), lab.run(of("two")), lab.run(of("one", seed=1))]
    first, second, third = features_for(runs, "small", "test", lab.workspace)
    assert first is third
    assert first is not second
