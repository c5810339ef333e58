"""Real photographs through a real pretrained backbone, against an independent measurement of the same."""

import csv

import pytest

from tests.integration.commands import ROOT, Shell


def values(shell: Shell, recipe: str = "pocket") -> dict[tuple[str, str, str], float]:
    with (shell.home / "out" / "tables" / f"{recipe}.csv").open() as file:
        return {(line["row"], line["column"], line["metric"]): float(line["measured"]) for line in csv.DictReader(file)}


@pytest.mark.slow
def test_raw_features_score_what_was_measured_independently(pocket: Shell):
    measured = values(pocket)
    with (ROOT / "recipes" / "reference" / "pocket.csv").open() as file:
        known = list(csv.DictReader(file))
    assert len(known) == 10
    for line in known:
        found = measured["Full dimension", line["column"], line["metric"]]
        assert found == pytest.approx(float(line["value"]), abs=0.3), line


@pytest.mark.slow
def test_a_trained_head_beats_pca_whitening_by_several_points(pocket: Shell):
    measured = values(pocket)
    pca = measured["PCA-whitening", "Mean", "mMP@5"]
    assert measured["ArcFace", "Mean", "mMP@5"] > pca + 3
    assert measured["Sub-Center ArcFace (K = 3)", "Mean", "mMP@5"] > pca + 3


@pytest.mark.slow
def test_the_discriminant_scores_what_was_measured_before_it_was_written(pocket: Shell):
    names = ["V1: discriminant", "V1: discriminant, 128-d", "V1: discriminant, 256-d"]
    rows = " ".join(f'--row "{name}"' for name in names)
    pocket(f'probe fit recipes/pocket-heads.yaml {rows} --data-root "$FOLDER"')
    pocket('probe table recipes/pocket-heads.yaml --data-root "$FOLDER"')
    measured = values(pocket, "pocket-heads")
    for name, mmp, r in zip(names, (68.5, 68.8, 68.5), (75.9, 78.8, 79.0), strict=True):
        assert measured[name, "Mean", "mMP@5"] == pytest.approx(mmp, abs=0.5)
        assert measured[name, "Mean", "R@1"] == pytest.approx(r, abs=0.5)


@pytest.mark.slow
def test_of_the_papers_claims_those_that_the_runs_can_check_are_checked(pocket: Shell):
    pocket('probe table claims --data-root "$FOLDER"')
    with (pocket.home / "out" / "tables" / "claims.csv").open() as file:
        here = {line["row"]: line["measured"] for line in csv.DictReader(file) if line["column"] == "here"}
    assert here["V1: training a head is better than PCA of the features"] == "holds"
    assert here["V1: the oracle of specialists has the best mean"] == "not measured"
