"""Recipes: what they resolve to, and that no mistake in one passes."""

from pathlib import Path

import pytest

from probe import heads, losses
from probe.backbones.catalogue import read_rows
from probe.errors import UsageError
from probe.fit import ClosedFormConfig, TrainedConfig, Training
from probe.recipes.recipe import find_recipes, read_recipe
from probe.recipes.row import Row

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
RECIPE = """
title: A title
data: sample
defaults:
  backbone: descriptor
  head: {kind: linear, dim: 32, dropout: 0.1}
  loss: {kind: arcface, margin: 0.4}
  training: {epochs: 3}
  seeds: [0, 1]
rows:
  - {name: Trained}
  - {name: No dropout, head: {dropout: 0}}
  - {name: Three centres, loss: {kind: sub-center-arcface}, seeds: [7]}
  - {name: Untrained, head: {kind: average-pooling}}
"""


def recipe_file(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_project_is_valid(path: Path):
    assert read_recipe(path).rows


def test_only_the_quickstart_needs_nothing_from_outside():
    assert [path.stem for path in RECIPES.glob("*.yaml") if read_recipe(path).self_contained] == ["quickstart"]


def trained_run(row: Row) -> TrainedConfig:
    """Its first."""
    run = row.runs[0]
    assert isinstance(run, TrainedConfig)
    return run


def test_a_row_is_the_defaults_with_its_own_keys_merged_in(tmp_path: Path):
    trained, no_dropout, *_ = read_recipe(recipe_file(tmp_path, RECIPE)).rows
    assert [run.seed for run in trained.runs] == [0, 1]
    assert trained_run(trained).loss == losses.ArcFace.Config(margin=0.4)
    assert no_dropout.runs[0].head == heads.Linear.Config(dim=32, dropout=0)
    assert trained_run(no_dropout).training == Training(epochs=3)


def test_a_section_of_another_kind_takes_over_the_keys_that_it_has_too(tmp_path: Path):
    _, _, three, untrained = read_recipe(recipe_file(tmp_path, RECIPE)).rows
    assert len(three.runs) == 1
    assert trained_run(three).loss == losses.SubCenterArcFace.Config(margin=0.4)
    assert untrained.runs[0].head == heads.AveragePooling.Config(dim=32)


def test_another_kind_in_a_rows_training_leaves_the_options_that_it_has_not(tmp_path: Path):
    defaults = (
        "training: {epochs: 3, lr_min: 0.002, optimizer: adamw, betas: [0.8, 0.9], sampler: dynamic, domains: [a, b], "
        "update_every: 9}"
    )
    rows = """
  - {name: Constant, training: {schedule: constant}}
  - {name: SGD, training: {optimizer: sgd, sampler: round-robin}}
  - {name: Adam, training: {optimizer: adam, lr_min: 0.001}}
"""
    text = RECIPE.replace("training: {epochs: 3}", defaults).split("rows:")[0] + "rows:" + rows
    constant, sgd, adam = (trained_run(row).training for row in read_recipe(recipe_file(tmp_path, text)).rows)
    dynamic = {"epochs": 3, "sampler": "dynamic", "domains": ("a", "b"), "update_every": 9}
    adamw = {"optimizer": "adamw", "betas": (0.8, 0.9)}
    assert constant == Training(schedule="constant", **adamw, **dynamic)
    assert sgd == Training(epochs=3, lr_min=0.002, optimizer="sgd", sampler="round-robin", domains=("a", "b"))
    assert adam == Training(lr_min=0.001, optimizer="adam", betas=(0.8, 0.9), **dynamic)


@pytest.mark.parametrize(
    "row", ["{schedule: constant, lr_min: 0.001}", "{lr_min: 0.001}"], ids=["beside its own", "beside the default's"]
)
def test_an_option_that_means_nothing_where_it_is_written_is_still_refused(row: str, tmp_path: Path):
    text = RECIPE.replace("training: {epochs: 3}", "training: {epochs: 3, schedule: constant}")
    text = text.replace("{name: Trained}", f"{{name: Trained, training: {row}}}")
    with pytest.raises(UsageError, match="`lr_min` means nothing with `schedule: constant`"):
        read_recipe(recipe_file(tmp_path, text))


def test_training_without_a_section_is_unifexs(tmp_path: Path):
    path = recipe_file(tmp_path, RECIPE.replace("  training: {epochs: 3}\n", ""))
    assert trained_run(read_recipe(path).rows[0]).training == Training()
    written_out = Training().model_dump()
    assert [written_out[key] for key in ("epochs", "batch", "lr", "lr_min")] == [10, 128, 1e-2, 1e-3]


def test_a_head_that_is_not_trained_has_no_loss_and_no_training(tmp_path: Path):
    untrained = read_recipe(recipe_file(tmp_path, RECIPE)).rows[3].runs[0]
    assert isinstance(untrained, ClosedFormConfig)
    assert not {"loss", "training"} & untrained.model_dump().keys()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("defaults:", "default:", "unknown key 'default'; did you mean 'defaults'?"),
        ("seeds: [0, 1]", "seed: [0, 1]", "defaults: unknown key 'seed'; did you mean 'seeds'?"),
        ("dropout: 0.1", "dropot: 0.1", "unknown key 'dropot'; did you mean 'dropout'?"),
        ("margin: 0.4", "margni: 0.4", "unknown key 'margni'; did you mean 'margin'?"),
        ("epochs: 3", "epoch: 3", "unknown key 'epoch'; did you mean 'epochs'?"),
        ("{name: Trained}", "{name: Trained, sedes: [1]}", "unknown key 'sedes'; did you mean 'seeds'?"),
        ("kind: arcface", "kind: arcfac", "arcfac"),
        ("kind: linear", "kind: liner", "liner"),
        ("margin: 0.4", "margin: 30", "less than 3.14"),
        ("epochs: 3", "epochs: three", "three"),
        ("epochs: 3", "epochs: 0", "greater than 0"),
        ("seeds: [0, 1]", "seeds: []", "at least 1"),
        ("backbone: descriptor", "backbone: descripter", "unknown backbone 'descripter'; did you mean 'descriptor'?"),
        ("title: A title", "about: x", "'title' is missing"),
        ("name: No dropout", "name: Trained", "same name"),
        ("{kind: average-pooling}", "{kind: average-pooling}, loss: {kind: arcface}", "not trained: leave out `loss`"),
        ("  loss: {kind: arcface, margin: 0.4}\n", "", "give it a `loss`"),
        ("{name: Trained}", "{name: Trained, printed: Row}", "printed: the recipe has no `reference` file"),
        ("data: sample", "data: sample\nreference: none.csv", "none.csv cannot be read as a reference file"),
        ("title: A title", "title: [", "cannot be read as a recipe"),
        ("title: A title", "title: A title\ntitle: B", "line 3: the key 'title' is there twice."),
        ("margin: 0.4", "margin: 0.4, margin: 0.5", "the key 'margin' is there twice."),
        (RECIPE, "", "it holds no keys"),
    ],
)
def test_a_mistake_is_an_error_that_names_the_file_and_the_key(tmp_path: Path, old: str, new: str, says: str):
    assert old in RECIPE
    path = recipe_file(tmp_path, RECIPE.replace(old, new))
    with pytest.raises(UsageError) as raised:
        read_recipe(path)
    assert says in str(raised.value)
    assert "{'" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_a_backbone_of_the_recipes_own_is_known_to_its_rows(tmp_path: Path):
    own = "backbones: {mine: {library: timm, model: resnet18, px: 64, weights: mine.safetensors}}\n"
    path = recipe_file(tmp_path, own + RECIPE.replace("backbone: descriptor", "backbone: mine"))
    recipe = read_recipe(path)
    assert recipe.backbones[0].row.model == "resnet18"
    assert recipe.backbones[0].catalogue == path
    assert not recipe.self_contained


def test_what_is_merged_into_a_section_may_be_there_again(tmp_path: Path):
    rows = "backbones:\n  a: &a {library: timm, model: resnet18, px: 64, weights: a.safetensors}\n"
    rows += "  b: &b {<<: *a, px: 96}\n  c: {<<: *b, px: 128}\n"
    own = read_rows(recipe_file(tmp_path, rows + RECIPE))
    assert {name: row.px for name, row in own.items()} == {"a": 64, "b": 96, "c": 128}


def test_a_view_of_a_backbone_may_stand_for_it(tmp_path: Path):
    section = "backbones:\n  mine: {library: timm, model: resnet18, px: 64, weights: mine.safetensors, crop_pct: 0.9}\n"
    path = recipe_file(tmp_path, section + RECIPE.replace("descriptor", "mine@test"))
    backbone = read_recipe(path).rows[0].backbones[0]
    assert (backbone.name, backbone.catalogue) == ("mine@test", path)
    assert (backbone.row.model, backbone.row.resize, backbone.row.crop_pct) == ("resnet18", "squash", 1.0)


FEATURES = """
title: A title
data: sample
backbones:
  mine: {library: timm, model: resnet18, px: 64, weights: mine.safetensors}
defaults:
  backbone: descriptor
  head: {kind: average-pooling}
  append: [width]
rows:
  - {name: Fused, backbone: [descriptor, mine], append: []}
  - {name: Views, backbone: mine, views: true}
  - {name: Sizes}
"""


def test_a_row_chooses_backbones_views_and_sizes(tmp_path: Path):
    recipe = read_recipe(recipe_file(tmp_path, FEATURES))
    fused, views, sizes = (row.runs[0] for row in recipe.rows)
    assert (fused.backbone, fused.views, fused.append) == (("descriptor", "mine"), False, ())
    assert (views.backbone, views.views, views.append) == ("mine", True, ("width",))
    assert (sizes.backbone, sizes.views, sizes.append) == ("descriptor", False, ("width",))
    names = [[backbone.name for backbone in row.backbones] for row in recipe.rows]
    assert names == [["descriptor", "mine"], ["mine@test"], ["descriptor"]]  # nothing is trained
    assert [backbone.name for backbone in recipe.backbones] == ["descriptor", "mine", "mine@test"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("backbone: [descriptor, mine]", "backbone: [descriptor, main]", "unknown backbone 'main'; did you mean"),
        ("backbone: [descriptor, mine]", "backbone: [mine, mine]", "backbone: 'mine' is there twice"),
        ("backbone: [descriptor, mine]", "backbone: []", "backbone: name a backbone, or several in a list"),
        ("  backbone: descriptor\n", "", "row 'Sizes': 'backbone' is missing"),
        ("append: [width]", "append: [hight]", "Input should be 'width', 'height' or 'aspect' (got 'hight')"),
        ("views: true", "view: true", "unknown key 'view'; did you mean 'views'?"),
        ("backbone: mine, views: true", "views: true", "descriptor sees every image in the same way"),
        ("backbone: mine, views", "backbone: mine@test, views", "`views` takes both views of a backbone; name 'mine'"),
    ],
)
def test_a_mistaken_choice_of_features_is_an_error_that_names_the_row(tmp_path: Path, old: str, new: str, says: str):
    assert old in FEATURES
    with pytest.raises(UsageError) as raised:
        read_recipe(recipe_file(tmp_path, FEATURES.replace(old, new)))
    assert says in str(raised.value)


def test_a_recipe_is_found_by_its_name_and_a_misspelt_one_names_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "recipes").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("unifex_table5", "uned_table4"):
        (tmp_path / "recipes" / f"{name}.yaml").touch()
    assert find_recipes([Path("unifex_table5")]) == [Path("recipes/unifex_table5.yaml")]
    assert find_recipes([Path("recipes"), Path("uned_table4")]) == sorted(Path("recipes").glob("*.yaml"))
    with pytest.raises(UsageError, match="no recipe 'unifx_table5'; did you mean 'unifex_table5'"):
        find_recipes([Path("unifx_table5")])
    (tmp_path / "uned_table4").mkdir()  # a folder of that name is meant as one
    with pytest.raises(UsageError, match="no recipes"):
        find_recipes([Path("uned_table4")])


def test_a_head_is_fitted_to_the_collection_that_its_recipe_is_scored_on_and_to_no_other(tmp_path: Path):
    def fitted_to(data: str) -> Row:
        row = f"  - {{name: Fitted, head: {{kind: discriminant, fit_to: {data}}}}}\n"
        return read_recipe(recipe_file(tmp_path, RECIPE + row)).rows[-1]

    assert fitted_to("sample").collection == "sample"
    with pytest.raises(
        UsageError, match=r"row 'Fitted': head\.fit_to: 'other' is not what .*; name 'sample', and with"
    ):
        fitted_to("other")
