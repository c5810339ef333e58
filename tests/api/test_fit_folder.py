"""`probe fit FOLDER` and `probe.fit(folder)`: a folder of images becomes a head, whatever its classes are."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import probe
from probe.api import fitting
from probe.cli import app
from probe.errors import UsageError
from probe.extract import Settings
from probe.runs import RunDirectory
from tests.integration.commands import photos


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "Settings", partial(Settings, workers=0))


def fit(folder: Path, **options: Any) -> RunDirectory:
    return probe.fit(folder, cache=folder.parent / "features", out=folder.parent / "out", **options)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (0, "one class, or none, and scores need 4"),
        (2, "2 classes: 1 to train on, 1 for validation, 0 to be scored on, and scores need 4"),
        (3, "3 classes: 2 to train on, 0 for validation, 1 to be scored on, and scores need 4"),
    ],
)
def test_of_too_few_classes_all_images_get_pca_whitening_without_scores_and_why(
    classes: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = photos(tmp_path / "photos", classes=max(1, classes), each=4)
    if not classes:
        folder = folder / "class0"
    run = fit(folder)
    images = 4 * max(1, classes)
    assert said in (error := capsys.readouterr().err)
    assert f"PCA-whitening of all {images} images, which needs none, without scores" in error
    assert run.config.head.kind == "pca-whitening"
    assert run.scores.test.root == {}
    assert run.scores.training_images == images
    vectors = probe.load(run.path).encode(folder)
    assert vectors.shape == (images, images - 1)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert fit(folder).path == run.path, "recognised"


def test_copies_among_few_images_cost_dimensions_and_no_error(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", classes=1, each=6) / "class0"
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    assert fit(folder).config.head.options["dim"] == 5


def test_a_head_in_closed_form_is_fitted_to_all_images_where_no_class_is_left_to_be_scored_on(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", classes=2, each=4)
    for head, dim in ((probe.heads.PCAWhitening(dim=5), 5), (probe.heads.Discriminant(dim=3), 3)):
        run = fit(folder, head=head)
        assert (run.scores.dim, run.scores.training_images, run.scores.test.root) == (dim, 8, {})


def test_a_trained_head_needs_classes_to_be_scored_on(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", classes=3, each=4)
    with pytest.raises(UsageError, match="has 3 classes, and scores need 4, some of them for the test; add classes"):
        fit(folder, head=probe.heads.Linear(dim=8), loss=probe.losses.ArcFace())
    assert fit(folder, head=probe.heads.PCAWhitening(dim=4)).scores.test.root == {}


def test_arguments_that_are_none_are_refused_before_any_work(tmp_path: Path) -> None:
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (None, {}, "images are of type NoneType"),
        (["a.jpg"], {}, "images are of type list"),
        ("p", {"head": "pca-whitening"}, "head is 'pca-whitening'; name one of probe.heads"),
        ("p", {"loss": probe.losses.ArcFace()}, "a loss trains a head"),
        ("p", {"training": {"epochs": 3}}, "`training` is of a head that is trained"),
        ("p", {"device": "tpu"}, "'tpu' is no device"),
    ]
    for images, options, said in wrong:
        with pytest.raises(UsageError, match=said):
            probe.fit(images, cache=tmp_path / "features", out=tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_one_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has one image, of which nothing can be fitted"):
        fit(photos(tmp_path / "photos", classes=1, each=1))


def test_a_folder_with_classes_gets_the_head_that_they_choose_and_a_line_says_which_and_where(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", classes=12, each=3)
    options = ["--cache", str(tmp_path / "features"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["fit", str(folder), *options])
    assert done.exit_code == 0, done.output
    (path,) = (tmp_path / "out" / "runs").iterdir()
    run = RunDirectory(path)
    assert run.scores.choice is not None
    said = done.output.splitlines()
    assert said[0].startswith(
        "12 classes: 7 to train on, 2 for validation, 3 to be scored on; so few say little of others"
    )
    assert said[-1] == (f"{run.scores.choice.chosen} ({run.scores.choice.why}), {run.scores.dim} dimensions, in {path}")
    assert run.scores.test.of("clean", "merged").mean["R@1"] is not None
    assert probe.load(path).encode(folder).shape == (36, run.scores.dim)


def test_what_is_of_a_recipe_is_refused_for_a_folder_and_the_other_way_round(tmp_path: Path) -> None:
    for words, message in (
        (["fit", str(tmp_path), "--seeds", "0-4"], "--seeds is of a recipe, and this is a folder; leave it out."),
        (["fit", "quickstart", "--backbone", "b"], "--backbone is of a folder, and this is a recipe; leave it out."),
        (["fit", "photoz", "--backbone", "b"], "there is no folder photoz, and there is no recipe 'photoz';"),
        (["fit", "a/photoz"], "there is neither a folder nor a recipe a/photoz;"),
        (["fit", "a.tar"], "a.tar is a tar; name the folder that it lies in, or a recipe."),
        (["fit", "a.JPG"], "a.JPG is an image; name the folder that it lies in, or a recipe."),
    ):
        done = CliRunner().invoke(app, words)
        assert done.exit_code
        assert message in done.output
