"""A comparison of rows is computed once, and again when anything that it was made of has changed."""

from pathlib import Path

import pytest

from probe.planning.inventory import Inventory
from probe.report import significance
from probe.report.significance import cached_comparison, compare_rows
from probe.report.table import build_table
from probe.runs import sweep
from tests.report.world import World


def test_it_is_the_same_answer_and_is_asked_for_again_only_when_a_file_has_changed(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    world.write_store()
    inventory = Inventory(world.recipe, world.workspace)
    sweep(inventory.runs(), "cpu")
    rows = {name: [run.path for run in runs] for name, runs in inventory.runs_of.items()}
    computed = []
    monkeypatch.setattr(significance, "compare_rows", lambda *given: computed.append(given) or compare_rows(*given))
    file, question = tmp_path / "comparison.json", ("Full", "mMP@5", "merged")
    first = cached_comparison(file, rows, *question)
    assert cached_comparison(file, rows, *question) == first == compare_rows(rows, *question)
    assert len(computed) == 1
    kept = file.read_text()
    other = "Full" if "Random" in first.tied else "Random"
    file.write_text(kept.replace('"tied": [', f'"tied": ["{other}", '))
    assert cached_comparison(file, rows, *question) == first, "an answer that was changed is not believed"
    computed.pop()
    values = rows["Random"][0] / "per_query.parquet"
    values.write_bytes(values.read_bytes())
    assert cached_comparison(file, rows, *question) == first
    values.unlink()
    assert cached_comparison(file, rows, *question).notes
    file.write_text("{")
    assert cached_comparison(file, rows, *question).notes
    cached_comparison(file, rows, "Full", "R@1", "merged")
    assert len(computed) == 5


def test_a_table_is_the_same_the_second_time(world: World):
    world.write_store()
    sweep(Inventory(world.recipe, world.workspace).runs(), "cpu")
    tables = [build_table(Inventory(world.recipe, world.workspace)) for _ in range(2)]
    assert tables[0] == tables[1]
    assert len(list((world.workspace.tables / ".significance").iterdir())) == 2
