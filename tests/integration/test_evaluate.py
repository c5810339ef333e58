"""`probe evaluate` on embeddings that were made elsewhere: what it prints, what it writes, and what it refuses."""

import json
import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from typer.testing import CliRunner, Result

from probe.cli import app
from tests.integration.commands import Shell

IMAGES = [f"{split}/{domain}/{label}/{i}.jpg" for split in ("val", "test") for domain in ("birds", "cars")
          for label in ("a", "b", "c") for i in range(3)]  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A manifest of two domains, and embeddings of its images in another order."""
    rows = [(image, "small", *image.split("/")[2:0:-1], image.split("/")[0], "both") for image in IMAGES]
    (tmp_path / "data" / "small").mkdir(parents=True)
    frame = pl.DataFrame(rows, ["image", "source", "label", "domain", "split", "role"], orient="row")
    frame.write_csv(tmp_path / "data" / "small" / "manifest.csv")
    order = np.random.default_rng(0).permutation(len(IMAGES))
    np.save(tmp_path / "mine.npy", np.random.default_rng(1).normal(size=(len(IMAGES), 5)).astype(np.float32)[order])
    (tmp_path / "ids.txt").write_text("\n".join([IMAGES[i] for i in order]))
    return tmp_path


def evaluate(home: Path, line: str, code: int = 0) -> Result:
    """In this process, on the CPU."""
    arguments = ["evaluate", *shlex.split(line), "--data", "small", "--device", "cpu"]
    result = CliRunner().invoke(
        app, [*arguments, "--data-root", str(home / "data"), "--cache", str(home), "--out", str(home / "out")]
    )
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def folders(home: Path) -> list[Path]:
    return sorted((home / "out" / "evaluations").glob("*"))


def mine(home: Path, options: str = "") -> str:
    return f"{home}/mine.npy --ids {home}/ids.txt {options}"


def test_embeddings_are_scored_once_and_printed_with_intervals(home: Path):
    shell = Shell(home)
    line = f"probe evaluate {mine(home)} --data small"
    first = shell(line)
    header, *lines = [row for row in first.stdout.splitlines() if "┃" in row or "│" in row]
    assert [cell.strip() for cell in header.strip("┃").split("┃")] == [
        "domain", "mMP@5", "R@1", "mAP@100", "queries", "nothing to find",
    ]  # fmt: skip
    assert [row.strip("│ ").split(" ")[0] for row in lines] == ["birds", "cars", "Mean"]
    [folder] = folders(home)
    assert folder.name.startswith("mine_test_")
    summary = json.loads((folder / "metrics.json").read_text())
    assert summary.keys() == {"clean", "official"}
    assert f"{100 * summary['clean']['merged']['mean']['R@1']:.1f} [" in lines[-1]
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (config["embeddings"], config["split"], config["distance"]) == ("mine.npy", "test", "cosine")
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    again = evaluate(home, mine(home))
    assert "evaluate on" not in again.stderr
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    assert folders(home) == [folder]


def test_the_neighbours_are_written_in_two_forms(home: Path):
    evaluate(home, mine(home, "--neighbours 4"))
    [folder] = folders(home)
    rows = pl.read_parquet(folder / "neighbours.parquet")
    assert json.loads((folder / "neighbours.json").read_text()) == rows.to_dicts()
    per_query = pl.read_parquet(folder / "per_query.parquet")
    assert rows.columns == ["image", "source", "domain", "neighbours"]
    assert rows["image"].equals(per_query["image"])
    for row, query in zip(rows.to_dicts(), per_query.to_dicts(), strict=True):
        assert [found["image"] for found in row["neighbours"]] == query["neighbours"][:4]
        assert [found["hit"] for found in row["neighbours"]] == query["hits"][:4]
        assert [found["similarity"] for found in row["neighbours"]] == query["similarities"][:4]
        assert {found["source"] for found in row["neighbours"]} == {"small"}
        assert row["image"] not in query["neighbours"]
    evaluate(home, mine(home, "--neighbours 0"))
    assert sum((folder / "neighbours.json").exists() for folder in folders(home)) == 1


def test_both_indexes_and_protocols_are_printed_with_their_difference(home: Path):
    text = evaluate(home, mine(home, "--index both --protocol both --metric R@2 --metric mAP@3")).stdout
    for index in ("merged", "separate"):
        for protocol in ("clean", "official"):
            assert f"mine.npy on small, test split, {index} index, {protocol} protocol" in " ".join(text.split())
    assert "R@2" in text
    assert "mMP@5" not in text
    assert "drops rank 1 unseen" in " ".join(text.split())
    [folder] = folders(home)
    summary = json.loads((folder / "metrics.json").read_text())
    difference = 100 * (summary["official"]["merged"]["mean"]["R@2"] - summary["clean"]["merged"]["mean"]["R@2"])
    assert f"({difference:+.2f})" in text
    assert set(summary["clean"]["separate"]["mean"]) == {"mMP@5", "R@1", "mAP@100", "R@2", "mAP@3"}


def test_metrics_without_an_official_rule_are_scored_by_the_clean_protocol_alone(home: Path):
    named = "--metric mAP@R --metric R-precision --metric MRR@10"
    found = evaluate(home, mine(home, f"--protocol both {named}"))
    assert "official protocol" not in " ".join(found.stdout.split())
    assert "no official value of mAP@R, R-precision, MRR@10" in " ".join(found.stderr.split())
    [folder] = folders(home)
    summary = json.loads((folder / "metrics.json").read_text())
    unofficial = {"mAP@R", "R-precision", "MRR@10"}
    assert set(summary["official"]["merged"]["mean"]) == {"mMP@5", "R@1", "mAP@100"}
    assert set(summary["clean"]["merged"]["mean"]) == {"mMP@5", "R@1", "mAP@100", *unofficial}
    for metric in unofficial:
        assert f"{100 * summary['clean']['merged']['mean'][metric]:.1f} [" in found.stdout
    refused = evaluate(home, mine(home, "--protocol official --metric R@1 --metric MRR@10"), code=2)
    assert "the official protocol has no MRR@10; it has mAP@k, mMP@k, R@k." in " ".join(refused.stderr.split())


def test_what_changes_the_numbers_has_a_folder_of_its_own_and_what_does_not_has_not(home: Path):
    evaluate(home, mine(home))
    evaluate(home, mine(home, "--index separate --protocol official"))
    (home / "mine.npy").rename(home / "renamed.npy")
    evaluate(home, mine(home).replace("mine.npy", "renamed.npy"))
    assert len(folders(home)) == 1
    (home / "renamed.npy").rename(home / "mine.npy")
    evaluate(home, mine(home, "--distance euclidean"))
    evaluate(home, mine(home, "--split val"))
    np.save(home / "mine.npy", -2 * np.load(home / "mine.npy") ** 2)
    evaluate(home, mine(home))
    assert len(folders(home)) == 4


def test_ids_that_the_data_does_not_know_are_counted(home: Path):
    vectors = np.load(home / "mine.npy")
    np.savez(home / "mine.npz", embeddings=np.concatenate([vectors, vectors[:2]]),
             ids=np.array([*(home / "ids.txt").read_text().splitlines(), "x", "y"]))  # fmt: skip
    assert "2 of 38 ids are of no image of" in evaluate(home, f"{home}/mine.npz").stderr


def test_misuse_is_said_before_any_work(home: Path):
    def says(line: str) -> str:
        return evaluate(home, line, 2).stderr

    assert "'mMP5' is no metric" in says(mine(home, "--metric mMP5"))
    assert "did you mean" in says(mine(home, "--metric mAPP@5"))
    assert "mine.npy is no folder of a run; embeddings are scored one file" in says(mine(home, "--combine soup"))
    assert "embeddings are scored one file at a time" in says(f"{home}/data {mine(home)}")
    assert "name one of the folders that `probe fit` made" in says(f"{home}/data")
    assert "a run knows the ids of its images" in says(f"{home}/data --ids {home}/ids.txt")
    assert "say with --ids which image each row is of" in says(f"{home}/mine.npy")
    assert "there is nothing at" in says(f"{home}/nothing.npy")
    assert "is none of what embeddings come as" in says(f"{home}/ids.txt")
    assert not (home / "out").exists()
