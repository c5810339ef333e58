"""The index knows runs by what they are made of, never by the names of their directories."""

import json
from pathlib import Path
from typing import Any

import yaml

from probe.fit import RunConfig, read_run_config
from probe.runs import Run, RunIndex

INPUTS = {"manifest": "m", "features": "f", "images": "i"}


def config(backbone: str | list[str] = "vit", seed: int = 0, **changes: Any) -> RunConfig:
    given = {"backbone": backbone, "head": {"kind": "linear"}, "loss": {"kind": "arcface"}, "training": {"epochs": 2}}
    return read_run_config(given | {"seed": seed} | changes)


def planned(folder: Path, of: RunConfig, made_for: str = "table: ArcFace", inputs: dict[str, str] = INPUTS) -> Run:
    return Run(of, inputs, folder, made_for)


def written(run: Run, name: str, **changes: Any) -> Path:
    """A finished run's directory, without its larger files, under a name that says nothing."""
    path = run.folder / name
    path.mkdir(parents=True)
    record = {"key": run.key, "config": run.config.model_dump(mode="json"), "inputs": run.inputs}
    spec = {name: {} for name in run.config.stores("test")}
    record |= {"features": {"dim": 8, "spec": spec}, "code": run.code} | changes
    (path / "config.yaml").write_text(yaml.safe_dump(record))
    (path / "environment.json").write_text(json.dumps({"seconds": 1.0, "made_for": run.made_for}))
    (path / "metrics.json").write_text("{}")
    return path


def paths(runs: list[Any]) -> list[Path]:
    return [run.path for run in runs]


def test_runs_are_found_by_their_data_whatever_their_names(tmp_path: Path) -> None:
    first = written(planned(tmp_path, config()), "x")
    second = written(planned(tmp_path, config("dino", training={"epochs": 3})), "vit_linear_softmax_seed7_000000000000")
    written(planned(tmp_path, config(), inputs=INPUTS | {"manifest": "another"}), "y")
    index = RunIndex(tmp_path)
    assert set(paths(index.of_manifest("m"))) == {first, second}
    assert index.of_manifest("unknown") == index.of_manifest(None) == []


def test_a_directory_that_is_damaged_or_not_finished_is_passed_over_and_the_damaged_are_listed(tmp_path: Path) -> None:
    whole = written(planned(tmp_path, config()), "whole")
    for name, file, content in (
        ("no yaml", "config.yaml", "- :"),
        ("no run", "config.yaml", "key: a"),
        ("no environment", "environment.json", "["),
    ):
        (written(planned(tmp_path, config()), name) / file).write_text(content)
    (written(planned(tmp_path, config()), "unfinished") / "metrics.json").unlink()
    (tmp_path / "a file").touch()
    index = RunIndex(tmp_path)
    assert paths(index.runs) == [whole]
    assert {path.name for path in index.damaged} == {"no yaml", "no run", "no environment"}
    assert paths(RunIndex(tmp_path / "nothing").runs) == []


def test_a_run_is_superseded_by_what_changed(tmp_path: Path) -> None:
    written(planned(tmp_path, config()), "old")
    index = RunIndex(tmp_path)
    for inputs, why in (
        (INPUTS | {"features": "g"}, "with other features"),
        (INPUTS | {"manifest": "n"}, "with another manifest"),
        (INPUTS | {"images": "j"}, "with other image files"),
        ({}, "with features or data that are not here any more"),
    ):
        assert index.superseded(planned(tmp_path, config(), inputs=inputs)) == why
    another = planned(tmp_path, config(loss={"kind": "arcface", "margin": 0.4}))
    assert index.superseded(another) == "with another configuration (loss.margin: 0.5, not 0.4)"
    assert index.superseded(planned(tmp_path, config(), made_for="table: Softmax")) is None
    assert index.superseded(planned(tmp_path, config(seed=1))) is None


def test_the_specialist_of_one_domain_is_not_superseded_by_that_of_another(tmp_path: Path) -> None:
    written(planned(tmp_path, config(domain="cars")), "cars")
    index = RunIndex(tmp_path)
    assert index.superseded(planned(tmp_path, config(domain="food"))) is None
    changed = planned(tmp_path, config(domain="cars", training={"epochs": 3}))
    assert index.superseded(changed) == "with another configuration (training.epochs: 2, not 3)"


def test_the_code_that_changed_is_named(tmp_path: Path) -> None:
    run = planned(tmp_path, config())
    before = run.code | {"probe/losses/arcface.py": "before"}
    path = written(run, "old", key="0" * 64, code=before)
    assert RunIndex(tmp_path).superseded(run) == "by an earlier version of losses/arcface.py"
    content = yaml.safe_load((path / "config.yaml").read_text())
    del content["code"]
    (path / "config.yaml").write_text(yaml.safe_dump(content))
    assert RunIndex(tmp_path).superseded(run) == "by an earlier version of probe"
