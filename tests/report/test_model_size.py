"""The counted parameters are those of the modules that a run builds; views and seeds count once. A deployed model is
without the class matrix."""

from pathlib import Path

import pytest
import torch

from probe.fit import TrainedConfig
from probe.heads import Linear, TrainedHead, build_head
from probe.losses import build_loss
from probe.recipes.recipe import read_recipe
from probe.recipes.row import Row
from probe.report.model_size import ModelSize, model_size

RECIPE = """
title: Sizes
data: sample
backbones:
  mine: {library: timm, model: resnet18, px: 64, weights: mine.safetensors, dim: 24, params: 1000}
  other: {library: timm, model: resnet34, px: 64, weights: other.safetensors, dim: 8, params: 500}
  unknown: {library: timm, model: resnet50, px: 64, weights: unknown.safetensors}
defaults: {backbone: mine, head: {kind: linear, dim: 6}, loss: {kind: arcface}}
rows:
  - {name: linear}
  - {name: sub-centres, loss: {kind: sub-center-arcface, sub_centers: 3}}
  - {name: dynamic, loss: {kind: dynamic-arcface, sub_centers: 2}}
  - {name: biased softmax, loss: {kind: softmax}}
  - {name: l2, head: {kind: l2-linear-l2}, loss: {kind: normalised-softmax}}
  - {name: batch norm, head: {kind: batch-norm-linear, hidden: 10, dim: 4}}
  - {name: fused, backbone: [mine, other], append: [width, aspect]}
  - {name: views, views: true}
  - {name: own, head: {kind: "tests.report.test_model_size:TwoLayers", hidden: 5}}
  - {name: untrained, head: {kind: average-pooling}}
  - {name: PCA, head: {kind: pca-whitening}}
  - {name: random, head: {kind: random-projection}}
  - {name: too short, head: {kind: average-pooling, dim: 25}}
  - {name: unknown, backbone: unknown}
  - {name: specialists, specialists: true}
"""
CLASSES = 7


class TwoLayers(TrainedHead):
    """A user's own."""

    class Config(TrainedHead.Config):
        hidden: int = 3

    def __init__(self, in_dim: int, dim: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first, self.second = Linear(in_dim, hidden, generator, 0.0), Linear(hidden, dim, generator, 0.0)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(features))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    path = tmp_path_factory.mktemp("sizes") / "sizes.yaml"
    path.write_text(RECIPE)
    return {row.name: row for row in read_recipe(path).rows}


@pytest.mark.parametrize(
    "name", ["linear", "sub-centres", "dynamic", "biased softmax", "l2", "batch norm", "fused", "views", "own"]
)
def test_they_are_those_of_the_modules(rows: dict[str, Row], name: str):
    run, generator = rows[name].runs[0], torch.Generator().manual_seed(0)
    dim, frozen = (24 + 8 + 2, 1500) if name == "fused" else (24, 1000)
    assert isinstance(run, TrainedConfig)
    sizes = torch.full((CLASSES,), 5)
    head, loss = build_head(run.head, dim, generator), build_loss(run.loss, sizes, run.head.loss_dim, generator)
    matrix = sum(weight.numel() for weight in loss.parameters())
    deployed = frozen + sum(weights.numel() for weights in head.state_dict().values())
    trained = sum(weight.numel() for weight in head.parameters()) + matrix
    assert model_size(rows[name], CLASSES) == ModelSize(deployed + matrix, deployed, trained)


def test_by_hand(rows: dict[str, Row]):
    head, matrix = 24 * 6 + 6, 3 * CLASSES * 6
    assert model_size(rows["sub-centres"], CLASSES) == ModelSize(1000 + head + matrix, 1000 + head, head + matrix)
    norm, linear, pca = 2 * 24, 24 * 10 + 10, 10 + 10 * 4
    deployed = 1000 + norm + 2 * 24 + linear + pca  # with the running moments
    assert model_size(rows["batch norm"], CLASSES) == ModelSize(
        deployed + CLASSES * 10, deployed, norm + linear + CLASSES * 10
    )


def test_what_is_not_trained_is_deployed_with_its_backbone(rows: dict[str, Row]):
    assert model_size(rows["untrained"], None) == ModelSize(total=1000, deployed=1000, trained=0)
    assert model_size(rows["PCA"], None) == ModelSize(1000 + 24 + 24 * 6, 1000 + 24 + 24 * 6, 0)
    assert model_size(rows["random"], None) == ModelSize(1000 + 24 * 6 + 6, 1000 + 24 * 6 + 6, 0)


def test_what_is_not_known_is_not_counted(rows: dict[str, Row]):
    assert model_size(rows["unknown"], CLASSES) is None
    assert model_size(rows["linear"], None) is None
    assert model_size(rows["specialists"], CLASSES) is None
    assert model_size(rows["too short"], CLASSES) is None


def test_a_row_that_is_printed_only_has_none():
    recipe = read_recipe(Path(__file__).resolve().parents[2] / "recipes" / "uned_table5.yaml")
    of_the_paper = [row for row in recipe.rows if not row.name.startswith("Ours: ")]
    assert [bool(model_size(row, None)) for row in of_the_paper] == [False] * 6 + [True]
