"""Recipes without runs: a mistake in one is an error that names it, and no option of a fit changes them."""

from pathlib import Path

import pytest

from probe.errors import UsageError
from probe.recipes.overrides import Overrides
from probe.recipes.recipe import read_recipe

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def changed(folder: Path, name: str, old: str, new: str) -> Path:
    text = (RECIPES / f"{name}.yaml").read_text()
    assert old in text
    (folder / "reference").symlink_to(RECIPES / "reference")
    for base in ("unifex_table4", "unifex_table5"):
        (folder / f"{base}.yaml").symlink_to(RECIPES / f"{base}.yaml")
    path = folder / f"{name}.yaml"
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("uned_table2", "kind: statistics", "kind: statistic", "there is no 'statistic'; did you mean 'statistics'?"),
        ("uned_table2", "of: UnED Table 2", "of: UnED Table 4", "there are no statistics 'UnED Table 4'"),
        ("uned_table2", "kind: statistics", "kind: statistics\ndata: uned", "unknown key 'data'"),
        ("uned_table2", "uned_table2.csv", "uned_table3.csv", "'Food2k' is no row of the recipe's reference file"),
        ("unifex_appendix_table5", "row: Sub", "row: Sob", "unifex_table5.yaml has no row 'Sob-Center ArcFace'"),
        ("unifex_appendix_table5", "training.lr\n", "training.lrate\n", "'Sub-Center ArcFace' has no training.lrate"),
        ("unifex_appendix_table5", "Dropout:", "Drop-out:", "'Drop-out' is no row of the recipe's reference file"),
        ("unifex_fig2_table", "about: >-", "abuot: >-", "unknown key 'abuot'; did you mean 'about'?"),
    ],
)
def test_a_mistake_is_an_error_that_names_file_and_key(tmp_path: Path, name: str, old: str, new: str, says: str):
    with pytest.raises(UsageError) as raised:
        read_recipe(changed(tmp_path, name, old, new))
    assert says in str(raised.value)
    assert name in str(raised.value)


def test_what_has_no_runs_cannot_be_changed_by_the_options_of_a_fit():
    with pytest.raises(UsageError, match=r"has no runs that --seeds 0 could change"):
        read_recipe(RECIPES / "uned_table2.yaml", Overrides.parse([], "0", []))
