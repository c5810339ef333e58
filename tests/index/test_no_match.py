import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from probe.cli import app
from probe.errors import UsageError
from probe.index import Index
from probe.index.no_match import conformal_threshold
from probe.runs import RunDirectory
from tests.embed.conftest import World


@pytest.mark.parametrize(("queries", "rate"), [(99, 0.05), (40, 0.1), (9, 0.1)])
def test_a_further_query_surpasses_the_threshold_as_often_as_is_promised(queries: int, rate: float):
    chance, trials = np.random.default_rng(0), 4000
    surpassed = 0
    for _ in range(trials):
        scores = chance.beta(2, 5, queries + 1)
        surpassed += scores[-1] > conformal_threshold(np.sort(scores[:-1]).tolist(), range(queries), rate)
    promised = np.floor((queries + 1) * rate + 1e-9) / (queries + 1)
    assert abs(surpassed / trials - promised) < 3 * np.sqrt(rate / trials)


@pytest.mark.parametrize("rate", [0.1, 0.2])
def test_queries_of_a_further_class_surpass_it_no_oftener_where_those_of_a_class_are_alike(rate: float):
    chance, trials, classes = np.random.default_rng(0), 1500, 15
    by_class, by_query = 0, 0
    for _ in range(trials):
        sizes = chance.integers(1, 40, classes + 1)
        level = chance.normal(0, 1, classes + 1)
        scores = [level[number] + 0.2 * chance.standard_normal(size) for number, size in enumerate(sizes)]
        known, groups = np.concatenate(scores[:-1]), np.repeat(np.arange(classes), sizes[:-1])
        order = known.argsort()
        limits = [
            conformal_threshold(known[order].tolist(), of.tolist(), rate)
            for of in (groups[order], np.arange(len(known)))
        ]
        by_class += (scores[-1] > limits[0]).mean()
        by_query += (scores[-1] > limits[1]).mean()
    assert by_class / trials < rate + 2 * np.sqrt(rate / trials)
    assert by_query > by_class


def test_ties_never_break_the_promise_and_what_cannot_be_promised_is_refused():
    assert conformal_threshold([0.5] * 20, range(20), 0.05) == 0.5  # an equal similarity is no match
    for scores, rate in (([0.5] * 18, 0.05), ([], 0.5), ([0.5], 0.0), ([0.5], 1.0), ([0.5], float("nan"))):
        with pytest.raises(UsageError, match="cannot"):
            conformal_threshold(scores, range(len(scores)), rate)
    with pytest.raises(UsageError, match=r"of 2 classes cannot promise a rate of 0\.1; name one of 0\.33 or more"):
        conformal_threshold([0.5] * 100, [0, 1] * 50, 0.1)


def test_an_index_is_calibrated_by_the_best_hits_of_other_classes(
    indexed: Path, world: World, folder: Path, tmp_path: Path
):
    home, path = tmp_path / "pocket", shutil.copytree(indexed, tmp_path / "index")
    queries = world.manifest.where_rows(world.manifest.frame["split"] != "train")
    for image in queries.images("pocket"):
        (home / image).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(world.folder / image, home / image)
    queries.write(home / "manifest.csv")
    index = Index.open(path, device="cpu")
    query = next(file for file in sorted(folder.rglob("*")) if file.is_file())
    with pytest.raises(UsageError, match="is not calibrated"):
        index.search(query, false_match_rate=0.25)
    record = index.calibrate(str(home))
    images = queries.split("val")["image"].to_list()
    best = index.search([home / image for image in images], k=1).frame["similarity"]  # no class of val is in the index
    np.testing.assert_allclose(record.scores, best.sort(), atol=1e-6)
    hits = Index.open(path, device="cpu").search(query, k=100, false_match_rate=0.25)
    limit = conformal_threshold(record.scores, record.classes, 0.25)
    assert hits.frame["match"].to_list() == (hits.frame["similarity"] > limit).to_list()
    assert hits.frame["match"].n_unique() == 2
    done = CliRunner().invoke(app, ["search", str(path), str(query), "-k", "100", "--false-match-rate", "0.25"])
    assert "calibrated on 12 queries of 4 classes" in done.output
    assert f"{len(hits.frame)}  " in done.output
    assert "  no  " in done.output
    assert "  yes  " in done.output
    with pytest.raises(UsageError, match="no queries of a domain 'shoes'; its domains are: food_grocery"):
        index.calibrate(str(home), domain="shoes")
    index.remove(hits.frame["id"].to_list()[:1])
    with pytest.raises(UsageError, match=r"was calibrated with 12 rows and has 11"):
        index.search(query, false_match_rate=0.25)


@pytest.mark.slow
def test_classes_that_the_index_has_are_left_out_of_the_calibration(run: RunDirectory, world: World, tmp_path: Path):
    manifest = world.manifest.where_rows(world.manifest.frame["split"] == "test")
    for image in manifest.images("pocket"):
        (tmp_path / "pocket" / image).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(world.folder / image, tmp_path / "pocket" / image)
    manifest.write(tmp_path / "pocket" / "manifest.csv")
    index = Index.create(tmp_path / "index", run.path, device="cpu")
    index.add(tmp_path / "pocket")
    record = index.calibrate(str(tmp_path / "pocket"), split="test")
    rows = index.frame.select("id", "label").to_dicts()
    vectors = index.vectors([row["id"] for row in rows])
    others = [
        index.search(vectors[[number]], k=1, where=f"label <> '{row['label']}'").frame["similarity"][0]
        for number, row in enumerate(rows)
    ]
    np.testing.assert_allclose(record.scores, sorted(others), atol=1e-5)
