"""Where recipes are found: in the current folder, else with the package."""

from pathlib import Path

import pytest

from probe.workspace import BUNDLED_RECIPES, as_named, or_bundled


def test_a_recipe_of_the_current_folder_goes_before_the_one_that_comes_with_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    own, other = Path("recipes/quickstart.yaml"), Path("recipes/pocket.yaml")
    assert or_bundled(own) == BUNDLED_RECIPES / "quickstart.yaml"
    assert or_bundled(Path("recipes")) == BUNDLED_RECIPES
    own.parent.mkdir()
    own.touch()
    assert (or_bundled(own), or_bundled(Path("recipes"))) == (own, Path("recipes"))
    assert or_bundled(other) == BUNDLED_RECIPES / "pocket.yaml"
    for path in (own, other):
        assert as_named(or_bundled(path)) == path


def test_what_is_nowhere_and_what_lies_elsewhere_keep_their_paths(tmp_path: Path):
    for path in (Path("recipes/no-such.yaml"), tmp_path / "recipes" / "quickstart.yaml", Path("quickstart.yaml")):
        assert as_named(or_bundled(path)) == path
