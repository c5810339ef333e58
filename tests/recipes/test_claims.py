"""Claims: no mistake in one passes, and each kind is what plain loops over the values say."""

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.stats import rankdata

from probe.errors import UsageError
from probe.recipes.claim import KINDS, Claim, Operand
from probe.recipes.recipe import read_recipe

BESIDE = """
title: Beside
data: sample
columns: {coins: Coins, sky: Sky}
defaults: {backbone: descriptor, seeds: [0], training: {epochs: 1}}
rows:
  - {name: A, head: {kind: full-dimension}}
  - {name: B, head: {kind: average-pooling}}
  - {name: C, head: {kind: linear, dim: 8}, loss: {kind: arcface}}
  - {name: D, head: {kind: linear, dim: 4}, loss: {kind: arcface}}
  - {name: Oracle, head: {kind: linear, dim: 4}, loss: {kind: arcface}, specialists: true}
"""
ABOVE = {"claim": "A is best", "place": "here", "recipe": "beside", "kind": "above", "rows": ["A"], "than": ["B"]}


def written(folder: Path, *claims: dict[str, Any]) -> Path:
    (folder / "beside.yaml").write_text(BESIDE)
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump({"kind": "claims", "title": "T", "claims": list(claims)}))
    return path


def claims_of(folder: Path, *claims: dict[str, Any]) -> list[Claim]:
    found = read_recipe(written(folder, *claims)).claims
    assert found is not None
    return list(found.claims)


GAIN = {"rows": ["A"], "over": ["B"]}
WITHOUT_ROWS = {"kind": "gain", "rows": None, "than": None}
WRONG = [
    ({"kind": "abov"}, "there is no 'abov'; did you mean 'above'?"),
    ({"rowz": ["A"]}, "unknown key 'rowz'; did you mean 'rows'?"),
    ({"rows": [{"row": "A", "recip": "beside"}]}, "rows.0: unknown key 'recip'; did you mean 'recipe'?"),
    ({"recipe": "besides"}, "there is no recipe 'besides' beside it; did you mean 'beside'?"),
    ({"recipe": "claims"}, "holds claims itself"),
    ({"rows": ["E"]}, "beside.yaml has no row 'E'"),
    ({"columns": ["Coin"]}, "beside.yaml has no column 'Coin'; did you mean 'Coins'?"),
    ({"metric": "mMP@6"}, "there is no 'mMP@6'; did you mean 'mMP@5'?"),
    ({"printed_column": "Sky"}, "'A' has no printed 'Sky'"),
    ({"than": None}, "`than` names what the rows are above, `against` where these are taken from"),
    ({"against": {"index": "separate"}}, "write one of them"),
    ({"compare": "pairs", "rows": ["A", "B"]}, "2 `rows` and 1 of `than` are no pairs"),
    ({"split": "val"}, "'A' of beside.yaml selects no epoch on validation"),
    ({"statistic": "epoch", "rows": ["C"], "than": ["Oracle"]}, "'Oracle' of beside.yaml selects no epoch"),
    ({"each": []}, "each: list the names that take the place of `{}`"),
    ({"each": ["A", "B"]}, "claim 'A is best' is there twice; with `each`, `{}` tells claims apart"),
    ({"split": "val", "rows": ["C"], "than": ["C"], "metric": "mAP@100"}, "validation computes mMP@5 and R@1, not mAP"),
    ({"split": "val", "rows": ["C"], "index": "separate"}, "validation searches the merged index alone"),
    ({"compare": "best", "than": None, "against": {"index": "separate"}}, "compare: best: `against` takes each row"),
    ({"least": 5, "most": 1}, "least 5 is more than most 1"),
    ({"kind": None}, "'kind' is missing, which says how it compares; known: above, "),
    ({"least": True}, "`least` is a number, not true"),
    (
        {"kind": "gain", "rows": None, "than": None, "more": GAIN, "less": {"rows": ["A"]}},
        "`over` names what is gained",
    ),
    ({"kind": "gain", "rows": None, "than": None, "more": GAIN, "less": {"rows": ["A"], "over": []}}, "less.over"),
]


@pytest.mark.parametrize(("change", "says"), WRONG, ids=lambda given: str(given)[:40])
def test_a_mistake_is_an_error_that_names_file_claim_and_key(tmp_path: Path, change: dict[str, Any], says: str):
    changed = {key: value for key, value in (ABOVE | change).items() if value is not None}
    with pytest.raises(UsageError) as raised:
        read_recipe(written(tmp_path, changed))
    assert says in str(raised.value)
    assert "claims.yaml: claim" in str(raised.value)


def test_a_claim_without_a_statement_is_told_by_its_number(tmp_path: Path):
    nameless = {key: value for key, value in ABOVE.items() if key != "claim"}
    with pytest.raises(UsageError, match="claim 2: 'claim' is missing"):
        read_recipe(written(tmp_path, ABOVE, nameless))


def test_each_makes_a_claim_of_each_name_in_all_of_its_texts(tmp_path: Path):
    fields = ABOVE | {"claim": "{} is above B", "each": ["A", "C"], "rows": ["{}"], "columns": ["Coins"]}
    claims = claims_of(tmp_path, fields)
    assert [claim.claim for claim in claims] == ["A is above B", "C is above B"]
    assert [claim.operands[0].row for claim in claims] == ["A", "C"]
    assert {claim.operands[0].column for claim in claims} == {"Coins"}


def test_a_value_is_taken_from_where_the_claim_says_unless_its_row_says_otherwise(tmp_path: Path):
    row = {"row": "C", "column": "Sky", "metric": "R@1", "split": "val"}
    [claim] = claims_of(tmp_path, ABOVE | {"than": [row], "columns": ["Coins"], "metric": "mAP@100"})
    assert claim.operands == [
        Operand("beside", "A", "Coins", "mAP@100"),
        Operand("beside", "C", "Sky", "R@1", None, "val"),
    ]


ROWS, COLUMNS = ["A", "B", "C", "D"], ["Mean", "Coins", "Sky"]


def table(seed: int) -> dict[tuple[str, str, str], float]:
    """Values by recipe, row and column; few different ones, so that some are equal."""
    drawn = random.Random(seed)
    return {place: drawn.randrange(6) / 2 for place in itertools.product(["beside", "other"], ROWS, COLUMNS)}


def amounts(fields: dict[str, Any], values: dict[tuple[str, str, str], float]) -> tuple[list[float], bool]:
    """Of a claim, and whether it holds of all."""
    claim = KINDS[fields["kind"]].model_validate({"claim": "c", "place": "p", "recipe": "beside"} | fields)
    found = [each.amount for each in claim.outcomes(lambda of: values[of.recipe, of.row, of.column])]
    for outcome in claim.outcomes(lambda of: values[of.recipe, of.row, of.column]):
        if outcome.of:
            signed = [(1, each) for each in outcome.of.plus] + [(-1, each) for each in outcome.of.minus]
            assert outcome.amount == pytest.approx(sum(s * values[o.recipe, o.row, o.column] for s, o in signed))
    return sorted(found), all(map(claim.holds, found))


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_is_what_plain_loops_say(seed: int):
    of = table(seed)
    value = {(row, column): of["beside", row, column] for row in ROWS for column in COLUMNS}
    other = {(row, column): of["other", row, column] for row in ROWS for column in COLUMNS}

    each = {"kind": "above", "rows": ["A", "B"], "than": ["C", "D"], "columns": COLUMNS}
    expected = [value[a, c] - value[b, c] for a in "AB" for b in "CD" for c in COLUMNS]
    assert amounts(each, of) == (sorted(expected), min(expected) > 0)
    assert amounts(each | {"least": -1}, of) == (sorted(expected), min(expected) >= -1)

    pairs = [value[a, c] - value[b, c] for a, b in ("AC", "BD") for c in COLUMNS]
    assert amounts(each | {"compare": "pairs"}, of) == (sorted(pairs), min(pairs) > 0)

    best = [max(value["A", c], value["B", c]) - value[b, c] for b in "CD" for c in COLUMNS]
    assert amounts(each | {"compare": "best"}, of) == (sorted(best), min(best) > 0)

    moved = [value[a, c] - other[a, c] for a in "AB" for c in COLUMNS]
    against = {key: each[key] for key in ("kind", "rows", "columns")} | {"against": {"recipe": "other"}}
    assert amounts(against | {"least": 0}, of) == (sorted(moved), min(moved) >= 0)

    order = {"kind": "order", "rows": ["A", "B", "C"], "columns": COLUMNS}
    falls = [value[a, c] - value[b, c] for a, b in ("AB", "BC") for c in COLUMNS]
    assert amounts(order, of) == (sorted(falls), all(value["A", c] > value["B", c] > value["C", c] for c in COLUMNS))

    diagonal = {"kind": "diagonal", "rows": {"Coins": "A", "Sky": "B"}}
    own = [value["A", "Coins"] - value["B", "Coins"], value["B", "Sky"] - value["A", "Sky"]]
    assert amounts(diagonal, of) == (sorted(own), min(own) > 0)

    more = {"rows": ["A", "B"], "over": ["C", "D"], "columns": ["Coins"]}
    less = {"rows": ["A"], "against": {"recipe": "other"}, "columns": ["Mean", "Sky"]}
    gains = [value[a, "Coins"] - value[b, "Coins"] for a, b in ("AC", "BD")]
    others = [value["A", c] - other["A", c] for c in ("Mean", "Sky")]
    expected = [gain - low for gain in gains for low in others]
    assert amounts({"kind": "gain", "more": more, "less": less}, of) == (
        pytest.approx(sorted(expected)),
        min(gains) > max(others),
    )

    def spread(rows: str, column: str) -> float:
        return max(value[row, column] for row in rows) - min(value[row, column] for row in rows)

    close = {"kind": "spread", "rows": list("ABC"), "columns": COLUMNS, "most": 1}
    assert amounts(close, of) == (
        sorted(spread("ABC", c) for c in COLUMNS),
        all(spread("ABC", c) <= 1 for c in COLUMNS),
    )
    wider = {"kind": "spread", "rows": ["A", "B"], "than": ["C", "D"]}
    assert amounts(wider, of) == (
        pytest.approx([spread("AB", "Mean") - spread("CD", "Mean")]),
        spread("AB", "Mean") > spread("CD", "Mean"),
    )

    here, there = [value[row, "Mean"] for row in ROWS], [other[row, "Mean"] for row in ROWS]
    ranking = {"kind": "ranking", "rows": ROWS, "against": {"recipe": "other"}, "least": 0.5}
    varied = len(set(here)) > 1 and len(set(there)) > 1
    rho = float(np.corrcoef(rankdata(here), rankdata(there))[0, 1]) if varied else 0.0
    assert amounts(ranking, of) == (pytest.approx([rho]), round(rho, 6) >= 0.5)


def test_all_kinds_are_compared_with_plain_loops():
    assert set(KINDS) == {"above", "order", "diagonal", "gain", "spread", "ranking"}


def test_bounds_are_of_the_printed_digits_and_not_of_binary_ones():
    claim = KINDS["above"].model_validate(ABOVE | {"least": 0.7, "most": 0.7})
    assert 72.8 - 72.1 != 0.7
    assert claim.holds(72.8 - 72.1)
    assert not claim.holds(0.8)
    assert not claim.holds(0.6)
