"""What `--json` prints is JSON of the documented form, and says what the tables say."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from probe.cli import app
from probe.commands.answers import ANSWERS

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "json.md"


def answer(*words: str | Path) -> Any:
    done = CliRunner().invoke(app, [*map(str, words), "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    return json.loads(done.stdout)


def models(of: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield of
    for field in of.model_fields.values():
        for part in get_args(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from models(part)


@pytest.mark.parametrize("kind", ANSWERS)
def test_every_key_is_documented(kind: type[BaseModel]) -> None:
    named = set(re.findall(r"`(\w+)`", DOCUMENT.read_text(encoding="utf-8")))
    assert {key for model in models(kind) for key in model.model_fields} - named == set()


@pytest.fixture
def scored(tmp_path: Path) -> tuple[str, ...]:
    """Embeddings of two domains, each image beside the next of its class."""
    rows = ["image,source,label,domain,split,role"]
    rows += [f"{number}.jpg,two,{number // 4},{'coins' if number < 12 else 'birds'},test,both" for number in range(24)]
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "manifest.csv").write_text("\n".join(rows) + "\n")
    classes = np.eye(6, 8)[np.arange(24) // 4]
    np.save(tmp_path / "e.npy", classes + 0.3 * np.random.default_rng(0).normal(size=(24, 8)))
    (tmp_path / "e.txt").write_text("".join(f"{number}.jpg\n" for number in range(24)))
    places = ("--data-root", str(tmp_path), "--out", str(tmp_path / "out"))
    return ("evaluate", str(tmp_path / "e.npy"), "--ids", str(tmp_path / "e.txt"), "--data", "two", *places)


def test_the_scores_are_those_of_the_table(scored: tuple[str, ...]) -> None:
    found = answer(*scored, "--protocol", "both", "--index", "both")
    assert found["version"] == 1
    assert Path(found["folder"], "metrics.json").exists()
    of = {(score["index"], score["protocol"], score["domain"], score["metric"]): score for score in found["scores"]}
    assert len(of) == 2 * 2 * 3 * 3
    text = CliRunner().invoke(app, [*scored]).stdout
    [line] = [line for line in text.splitlines() if "birds" in line]
    score = of["merged", "clean", "birds", "mMP@5"]
    assert f"{score['value']:.1f} [{score['interval'][0]:.1f}, {score['interval'][1]:.1f}]" in line
    assert (score["queries"], score["nothing_to_find"]) == (12, 0)
    assert of["merged", "clean", "Mean", "R@1"]["value"] == pytest.approx(
        np.mean([of["merged", "clean", domain, "R@1"]["value"] for domain in ("coins", "birds")])
    )


def test_a_table_has_its_rows_and_what_completes_it(tmp_path: Path) -> None:
    places = ("--data-root", tmp_path, "--cache", tmp_path, "--out", tmp_path / "out")
    found = answer("table", "uned_table1", "uned_table4", *places)
    counts, scores = found["tables"]
    values = {(row["name"], each["metric"]): each for row in counts["rows"] for each in row["values"]}
    assert values["GPR1200", "images"]["printed_text"] == "12k"
    assert scores["commands"]
    assert all(command["command"].startswith("probe ") for command in scores["commands"])
    assert any(each["printed"] for row in scores["rows"] for each in row["values"])


def test_listings_have_a_line_for_each_thing(tmp_path: Path) -> None:
    names = [backbone["name"] for backbone in answer("backbones", "siglip")["backbones"]]
    assert "siglip-so400m-14-384" in names
    assert all("siglip" in name for name in names)
    [one] = answer("backbones", "siglip-so400m-14-384")["backbones"]
    assert (one["dim"], one["px"], one["weights"] in ("fetch", "cached")) == (1152, 384, True)
    sets = {each["name"]: each for each in answer("data", "list", "--data-root", tmp_path)["data_sets"]}
    assert sets["sop"]["published"][0]["images"] == 59551
    assert answer("cache", "list", "--cache", tmp_path) == {"version": 1, "stores": []}
    statistics = answer("data", "stats", "--data-root", tmp_path)["statistics"]
    assert {"GPR1200", "Rp2k"} <= {row["row"] for row in statistics}


def test_only_a_part_of_a_name_lists_backbones_and_a_name_tells_all_of_one() -> None:
    some, one = (CliRunner().invoke(app, ["backbones", name]).stdout for name in ("SigLIP", "siglip-vit-b16-512"))
    assert "siglip2-vit-b16-512" in some
    assert "clip-vit-b32" not in some.split()
    assert "mean, std" in one
    unknown = CliRunner().invoke(app, ["backbones", "siglip-vit-b16-513"])
    assert unknown.exit_code == 2
    assert "did you mean 'siglip-vit-b16-512'?" in unknown.output


def test_a_shell_completes_commands() -> None:
    variables = {"_PROBE_COMPLETE": "complete_bash", "COMP_WORDS": "probe ex", "COMP_CWORD": "1"}
    done = CliRunner().invoke(app, prog_name="probe", env=variables)
    assert done.stdout.split() == ["extract", "export"]
