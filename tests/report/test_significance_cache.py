"""What was judged is judged once, and again when anything that it was made of has changed."""

from pathlib import Path

import pytest

from probe.planning.inventory import Bench
from probe.report import significance_cache as judged_module
from probe.report.significance import judge
from probe.report.significance_cache import judged
from probe.report.table import build_table
from probe.runs.sweep import sweep
from tests.report.world import World


def test_it_is_the_same_answer_and_is_asked_for_again_only_when_a_file_has_changed(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    world.write_store()
    bench = Bench(world.recipe, world.workspace)
    sweep(bench.runs(), "cpu")
    rows = {name: [run.path for run in runs] for name, runs in bench.runs_of.items()}
    asked = []
    monkeypatch.setattr(judged_module, "judge", lambda *given: asked.append(given) or judge(*given))
    file, question = tmp_path / "judged.json", ("Full", "mMP@5", "merged")
    first = judged(file, rows, *question)
    assert judged(file, rows, *question) == first == judge(rows, *question)
    assert len(asked) == 1
    values = rows["Random"][0] / "per_query.parquet"
    values.write_bytes(values.read_bytes())
    assert judged(file, rows, *question) == first
    values.unlink()
    assert judged(file, rows, *question).notes
    file.write_text("{")
    assert judged(file, rows, *question).notes
    judged(file, rows, "Full", "R@1", "merged")
    assert len(asked) == 5


def test_a_table_is_the_same_the_second_time(world: World):
    world.write_store()
    sweep(Bench(world.recipe, world.workspace).runs(), "cpu")
    tables = [build_table(Bench(world.recipe, world.workspace)) for _ in range(2)]
    assert tables[0] == tables[1]
    assert len(list((world.workspace.tables / ".judged").iterdir())) == 2
