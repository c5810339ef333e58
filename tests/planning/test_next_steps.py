"""Whoever draws a training set is told to extract what the tables that train on it read."""

from pathlib import Path

import pytest

from probe.data.curation import read_curations
from probe.planning import next_steps
from probe.recipes import folder_of_tables
from probe.workspace import Workspace
from tests.conftest import quick

CURATION = Path(__file__).resolve().parents[2] / "recipes" / "curation"
RECIPE = """
title: A table
data: sop
defaults: {train: mine, backbone: descriptor}
rows: [{name: A, head: {kind: pca-whitening}}, {name: B, head: {kind: full-dimension}}]
"""


def steps_of(curation: str, tmp_path: Path) -> dict[str, list[str]]:
    file = CURATION / f"{curation}.yaml"
    workspace = Workspace(tmp_path, Workspace.of_user().cache, Path("out"))
    found = next_steps([each.name for each in read_curations(file)], folder_of_tables(file), workspace)
    return {command.removesuffix(f" --data-root {tmp_path}"): tables for command, tables in found.items()}


@pytest.mark.slow
def test_after_m4d_35k_comes_the_view_that_most_of_its_tables_train_on(tmp_path: Path):
    steps = steps_of("m4d-35k", tmp_path)
    first = next(iter(steps))
    assert first == "probe extract m4d-35k --backbone siglip-so400m-14-384@train"
    assert {"unifex_table4", "unifex_table5", "unifex_table6"} <= set(steps[first])
    assert "unifex_table3" not in {table for tables in steps.values() for table in tables}  # it trains nothing


@pytest.mark.parametrize("number", quick([1, 2, 3, 4]))
def test_after_an_appendix_comes_the_view_that_its_table_trains_on_for_all_its_sets_at_once(
    number: int, tmp_path: Path
):
    [(command, tables)] = steps_of(f"appendix-a{number}", tmp_path).items()
    names = [each.name for each in read_curations(CURATION / f"appendix-a{number}.yaml")]
    words = command.split()
    assert set(names) == set(words[2:-2])
    assert words[-2:] == ["--backbone", "openclip-vit-h14@train"]
    assert tables == [f"unifex_appendix_table{number}"]


def test_a_set_that_no_table_trains_on_has_no_step_and_a_faulty_recipe_is_passed_over(tmp_path: Path):
    (tmp_path / "own.yaml").write_text(RECIPE)
    (tmp_path / "faulty.yaml").write_text("title: x\nrowz: []\n")
    workspace = Workspace(tmp_path, Workspace.of_user().cache, Path("out"))
    assert folder_of_tables(tmp_path / "curation" / "mine.yaml") == folder_of_tables(tmp_path / "mine.yaml")
    assert next_steps(["other"], tmp_path, workspace) == {}
    command = f"probe extract mine --backbone descriptor --data-root {tmp_path}"
    assert next_steps(["mine"], tmp_path, workspace) == {command: ["own"]}
