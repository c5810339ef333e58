"""Heads and losses of the user's own in a recipe: their options are checked like the built-in ones'."""

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from probe.errors import UsageError
from probe.fit import TrainedConfig, read_run_config
from probe.heads import build_head, load_head, save_head
from probe.losses import build_loss
from probe.recipes.overrides import Overrides
from probe.recipes.recipe import Recipe, read_recipe
from probe.runs.code import code_of_run
from tests.own_parts import blocks, write_pages_parts

MARGIN, LAYERS = "my_losses:CombinedMargin", "my_heads:TwoLayers"
OTHERS = """
from typing import Any

import torch

from probe.heads import ClosedFormHead, TrainingImages
from probe.losses import CosineMargins, CosineSoftmax, Loss
from probe.registry import Kind


class Centered(ClosedFormHead):
    class Config(ClosedFormHead.Config):
        pass

    def __init__(self, in_dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(in_dim))

    def fit(self, images: TrainingImages) -> "Centered":
        self.mean.copy_(sum(block.float().sum(0) for _, block in images.blocks()) / len(images))
        return self

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features - self.mean


class Nested(CosineSoftmax):
    class Config(CosineSoftmax.Config):
        scale: float = 16.0
        margins: CosineMargins = CosineMargins()


class NoConfig(Loss):
    class Config(Kind):
        pass


class NoFormula(Loss):
    class Config(Loss.Config):
        pass


class Constructor(CosineSoftmax):
    class Config(CosineSoftmax.Config):
        scale: float = 16.0
        margin: float = 0.1

    def __init__(self, classes: int, dim: int, scale: float, generator: torch.Generator) -> None:
        super().__init__(classes, dim, scale, generator)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the modules of both pages and some more, of which none has been imported."""
    write_pages_parts(tmp_path)
    (tmp_path / "others.py").write_text(OTHERS)
    (tmp_path / "broken.py").write_text("class Loss(\n    pass )\n")
    for name in ("my_losses", "my_heads", "others"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # before another test's folder of the same modules
    return tmp_path


def read(*settings: str, rows: list[dict[str, Any]] | None = None) -> Recipe:
    recipe = yaml.safe_load(Path("my_table.yaml").read_text())
    Path("changed.yaml").write_text(yaml.safe_dump(recipe | ({"rows": rows} if rows else {})))
    return read_recipe(Path("changed.yaml"), Overrides.parse(settings, None, []))


def loss_of(recipe: Recipe) -> Any:
    run = recipe.rows[-1].runs[0]
    assert isinstance(run, TrainedConfig)
    return run.loss


def test_the_page_builds_a_loss_in_about_fifteen_lines():
    [code] = blocks("losses.md", "python")
    body = code[code.index("class ") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 15


def test_options_have_the_defaults_of_the_class_and_are_those_that_are_written(here: Path):
    _, margin, layers = read().rows
    assert isinstance(margin.runs[0], TrainedConfig)
    assert margin.runs[0].loss.model_dump() == {
        "precision": "fp32", "init": "xavier", "kind": MARGIN, "margin": 0.4, "scale": 30.0, "shift": 0.2,
    }  # fmt: skip
    assert layers.runs[0].head.model_dump() == {"kind": LAYERS, "dim": 64, "hidden": 128}
    assert isinstance(layers.runs[0], TrainedConfig)
    assert layers.runs[0].loss.kind == "arcface"


def test_it_takes_over_those_keys_of_the_defaults_that_it_has(here: Path):
    recipe = yaml.safe_load(Path("my_table.yaml").read_text())
    recipe["defaults"]["loss"] = {"kind": "sub-center-arcface", "margin": 0.2, "sub_centers": 2}
    Path("changed.yaml").write_text(yaml.safe_dump(recipe | {"rows": [{"name": "A row", "loss": {"kind": MARGIN}}]}))
    assert loss_of(read_recipe(Path("changed.yaml"))).model_dump(include={"margin", "shift"}) == {
        "margin": 0.2,
        "shift": 0.2,
    }


def test_its_loss_is_the_formula_of_the_page(here: Path):
    from probe.losses import ArcFace, CosFace

    _, margin, _ = read().rows
    assert isinstance(margin.runs[0], TrainedConfig)
    generator = torch.Generator().manual_seed(0)
    loss = build_loss(margin.runs[0].loss, torch.ones(5).long(), 6, generator)
    x, labels = torch.randn(4, 6, generator=generator), torch.arange(4)
    assert loss.state_dict().keys() == {"weight"}
    arcface, cosface = ArcFace(5, 6, 0.4, 30.0, generator), CosFace(5, 6, 0.2, 30.0, generator)
    cosines = torch.linspace(-1, 1, 9)
    expected = cosface.with_margin(arcface.with_margin(cosines, labels), labels)
    assert torch.equal(loss.with_margin(cosines, labels), expected)  # type: ignore[operator]
    assert loss(x, labels).isfinite()


def test_a_configuration_goes_through_files_and_to_other_processes(here: Path):
    for row in read().rows:
        run = row.runs[0]
        assert read_run_config(yaml.safe_load(yaml.safe_dump(run.model_dump(mode="json")))) == run
        assert pickle.loads(pickle.dumps(run)) == run


def test_a_loss_without_a_kind_is_a_clear_error(here: Path):
    recipe = yaml.safe_load(Path("my_table.yaml").read_text())
    recipe["defaults"]["loss"] = {"margin": 0.2}
    Path("changed.yaml").write_text(yaml.safe_dump(recipe | {"rows": [{"name": "A row"}]}))
    with pytest.raises(UsageError, match=r"loss: 'kind' is missing, which says what it is\.$"):
        read_recipe(Path("changed.yaml"))


def test_its_file_is_in_the_key_of_its_runs(here: Path):
    arcface, margin, layers = (code_of_run(row.runs[0]) for row in read().rows)
    assert not [file for file in arcface if "my_" in file]
    assert [file for file in margin if "my_" in file] == ["my_losses.py"]
    assert [file for file in layers if "my_" in file] == ["my_heads.py"]
    assert "probe/losses/arcface.py" in margin


def test_a_head_is_saved_and_loaded(here: Path):
    config = read().rows[-1].runs[0].head
    head = build_head(config, 12, torch.Generator().manual_seed(0)).eval()
    save_head(head, here / "head.safetensors")
    x = torch.randn(3, 12)
    assert torch.equal(load_head(config, here / "head.safetensors", 12, torch.device("cpu"))(x), head(x))


def test_a_head_that_is_fitted_in_closed_form_has_no_use_for_the_default_loss(here: Path):
    recipe = read(rows=[{"name": "A row", "head": {"kind": "others:Centered"}}])
    assert not isinstance(recipe.rows[0].runs[0], TrainedConfig)
    with pytest.raises(UsageError, match="is not trained: leave out `loss` and `training`"):
        read(rows=[{"name": "A row", "head": {"kind": "others:Centered"}, "loss": {"kind": "arcface"}}])


def test_options_are_set_on_the_command_line(here: Path):
    recipe = read("loss.margin=0.2")
    assert [row.runs[0].loss.margin for row in recipe.rows] == [0.2, 0.4, 0.2]  # type: ignore[attr-defined]
    layers = [{"name": "A row", "head": {"kind": LAYERS}}]
    assert read("head.hidden=32", rows=layers).rows[0].runs[0].head.options["hidden"] == 32
    rows = [{"name": "A row", "loss": {"kind": MARGIN}}]
    assert loss_of(read("loss.shift=0.4", rows=rows)).shift == 0.4
    assert loss_of(read(f"loss.kind={MARGIN}", "loss.shift=0.4", rows=[{"name": "A row"}])).shift == 0.4


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("loss.shfit=0.4", r"there is no 'loss.shfit'; did you mean 'loss.shift'\?"),
        ("loss.shift=-1", r"row 'A row': loss.shift: Input should be greater than or equal to 0 \(got -1\)\."),
        ("heads.zzz=3", r"there is no .heads.zzz."),
        ("loss.two words=3", r"there is no 'loss.two words'"),
    ],
)
def test_a_wrong_setting_is_a_clear_error(here: Path, setting: str, says: str):
    with pytest.raises(UsageError, match=says):
        read(setting, rows=[{"name": "A row", "loss": {"kind": MARGIN}}])


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        ({"kind": MARGIN, "shfit": 0.1}, r"row 'A row': loss: unknown key 'shfit'; did you mean 'shift'\?$"),
        ({"kind": MARGIN, "shift": "wide"}, r"loss.shift: Input should be a valid number, .* \(got 'wide'\)\."),
        ({"kind": MARGIN, "shift": True}, r"loss: `shift` is a number, not true\."),
        ({"kind": MARGIN, "a": 1, "b": 2}, r"unknown key 'a'; known: init, kind, .* \(1 more problem\(s\)\)"),
        ({"kind": "others:Nested", "margins": {"mst": 1}}, r"loss.margins: unknown key 'mst'; did you mean 'most'"),
        ({"kind": "my_losses:Combined"}, r"'my_losses:Combined' cannot be loaded \(module 'my_losses' has no"),
        ({"kind": "absent_loss:Own"}, r"cannot be loaded \(No module named 'absent_loss'\); name it as package.module"),
        ({"kind": "broken:Loss"}, r"loss 'broken:Loss' cannot be loaded \(.*broken.py"),
        ({"kind": "my_losses:torch"}, r"loss 'my_losses:torch' is no Loss; derive it from probe.losses.Loss\.$"),
        ({"kind": LAYERS}, r"loss 'my_heads:TwoLayers' is no Loss"),
        ({"kind": "others:NoFormula"}, r"loss 'others:NoFormula' lacks `forward`; define it as probe.losses.Loss"),
        ({"kind": "others:Constructor"}, r"cannot be made from its configuration \(.*'(margin|precision)'\); give"),
        ({"kind": 3}, r"loss: there is no kind '3'; known: adacos, adaface"),
        ({"kind": "others:NoConfig"}, r"needs a `Config`, .*, derived from probe.losses.Loss.Config"),
        ({"kind": "arcfce"}, r"row 'A row': loss: there is no loss 'arcfce'; did you mean 'arcface'\?$"),
        ({"kind": "arcface", "margn": 1}, r"loss.arcface: unknown key 'margn'; did you mean 'margin'\?$"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_recipe_is_a_clear_error(here: Path, loss: dict[str, Any], says: str):
    with pytest.raises(UsageError, match=says):
        read(rows=[{"name": "A row", "loss": loss}])
