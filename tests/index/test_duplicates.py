import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from probe.cli import app
from probe.errors import UsageError
from probe.index import Index, duplicates_page, near_pairs

DIM = 5


@pytest.fixture(scope="module")
def vectors() -> dict[str, np.ndarray]:
    """Few directions, each with a little noise, so that there are near-duplicates in chains."""
    chance = np.random.default_rng(0)
    base = chance.standard_normal((40, DIM))
    rows = base[chance.integers(0, 40, 120)] * chance.uniform(0.5, 2, (120, 1))
    rows += 0.15 * chance.standard_normal((120, DIM))
    return {f"{number:03}": row.astype(np.float32) for number, row in enumerate(rows)}


def made(path: Path, rows: dict[str, np.ndarray], parts: int) -> Index:
    """In several segments, some rows of them removed."""
    index = Index.create(path, dim=DIM)
    names = list(rows)
    for part in range(parts):
        some = [*names[part::parts][: 40 >> part], f"x{part}"]
        index.add_vectors(some, np.stack([rows.get(name, np.ones(DIM, np.float32)) for name in some]))
    index.remove([f"x{part}" for part in range(parts)])
    return index


def plain(a: dict[str, np.ndarray], b: dict[str, np.ndarray], threshold: float, one: bool) -> set[tuple[str, str]]:
    found = set()
    for i, x in a.items():
        for j, y in b.items():
            x64, y64 = x.astype(np.float64), y.astype(np.float64)
            near = x64 @ y64 / np.linalg.norm(x64) / np.linalg.norm(y64) >= threshold
            if near and (i < j or not one):
                found.add((i, j))
    return found


@pytest.mark.parametrize("threshold", [0.9, 0.98])
def test_pairs_and_groups_are_those_of_plain_loops(
    vectors: dict[str, np.ndarray], tmp_path: Path, threshold: float, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("probe.index.duplicates.ROWS", 7)
    index = made(tmp_path / "index", vectors, 3)
    assert len(index.state.segments) > 1
    there = {name: vectors[name] for name in index.frame["id"]}
    done: list[int] = []
    found = near_pairs(index, None, threshold, done.append)
    expected = plain(there, there, threshold, one=True)
    assert set(found.pairs.select("a", "b").rows()) == expected
    assert expected
    assert len(found.pairs) == len(expected)
    groups = {name: {name} for pair in expected for name in pair}
    for a, b in expected:
        both = groups[a] | groups[b]
        for name in both:
            groups[name] = both
    of = {name: row["group"] for row in found.pairs.to_dicts() for name in (row["a"], row["b"])}
    assert all((of[x] == of[y]) == (groups[x] is groups[y]) for x in of for y in of)
    assert found.groups == len({id(group) for group in groups.values()})


def test_against_another_index_pairs_are_of_the_two(vectors: dict[str, np.ndarray], tmp_path: Path):
    first, second = (made(tmp_path / name, vectors, parts) for name, parts in (("a", 2), ("b", 1)))
    found = near_pairs(first, second, 0.9)
    rows = [{name: vectors[name] for name in index.frame["id"]} for index in (first, second)]
    assert set(found.pairs.select("a", "b").rows()) == plain(rows[0], rows[1], 0.9, one=False)
    page = duplicates_page(found, first, second)
    assert page.count("<section>") == found.groups
    other = Index.create(tmp_path / "other", dim=3)
    with pytest.raises(UsageError, match="is not of the embedder"):
        near_pairs(first, other, 0.9)
    with pytest.raises(UsageError, match="a cosine is never"):
        near_pairs(first, None, 1.5)


def test_where_there_are_none_that_is_the_answer(tmp_path: Path):
    index = made(tmp_path / "index", dict(zip("abcde", np.eye(DIM, dtype=np.float32), strict=True)), 1)
    found = near_pairs(index, None, 0.9)
    assert (found.pairs.height, found.groups) == (0, 0)
    assert found.pairs.columns == ["a", "b", "similarity", "group"]
    words = ["index", "duplicates", str(index.path), "--page", str(tmp_path / "none.html")]
    assert "0 pairs of 0.95 or more, in 0 groups" in CliRunner().invoke(app, words).output


def test_the_command_prints_and_writes_them(vectors: dict[str, np.ndarray], tmp_path: Path):
    index = made(tmp_path / "index", vectors, 2)
    index.add_vectors(["=a", "b"], np.eye(DIM, dtype=np.float32)[[0, 0]])
    words = ["index", "duplicates", str(index.path), "--threshold", "0.999"]
    csv, page = tmp_path / "pairs.csv", tmp_path / "pairs.html"
    written = CliRunner().invoke(app, [*words, "--csv", str(csv), "--page", str(page), "--json"])
    assert written.exit_code == 0, written.output
    assert csv.read_text().startswith("a,b,similarity,group\n'=a,b,1.0,")
    assert "Near-duplicates" in page.read_text()
    assert {"=a", "b"} <= {row[key] for row in json.loads(written.stdout) for key in "ab"}
    assert "1.0000  =a  b" in CliRunner().invoke(app, words).stdout
