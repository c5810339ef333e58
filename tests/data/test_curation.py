import csv
import re
from pathlib import Path

import pytest
import yaml

from probe.data.curation import find_curation, read_curations
from probe.data.dataset import all_datasets
from probe.errors import UsageError
from tests.conftest import Shared

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "recipes" / "curation"
TABLES = {"a1": 11, "a2": 7, "a3": 5, "a4": 6}


def recipe(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_curations(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def test_a_recipe_without_rows_is_one_training_set_named_after_its_file(tmp_path: Path) -> None:
    path = recipe(tmp_path, "{title: T, seed: 7, sources: [{data: sop, min: 3}], released: m4d-35k}")
    (found,) = read_curations(path)
    assert (found.name, found.seed, found.released, found.sources[0].min) == ("mine", 7, "m4d-35k", 3)


def test_rows_add_to_the_files_sources(tmp_path: Path) -> None:
    rows = "rows: [{name: a, sources: [{data: met}]}, {name: b}]"
    found = read_curations(recipe(tmp_path, f"title: T\nseed: 1\nsources: [{{data: sop}}]\n{rows}"))
    assert {each.name: [source.data for source in each.sources] for each in found} == {
        "a": ["sop", "met"],
        "b": ["sop"],
    }
    assert find_curation("b", found) is found[1]
    with pytest.raises(UsageError, match="no training set 'c'; known: a, b"):
        find_curation("c", found)


def test_shares_are_numbers_by_domain_or_a_benchmarks_and_a_rows_replace_the_files(tmp_path: Path) -> None:
    rows = "rows: [{name: a}, {name: b, shares: uned}]"
    text = f"title: T\nseed: 1\nsources: [{{data: sop}}]\nshares: {{shoes: 2, cars: 0.5}}\n{rows}"
    assert [each.shares for each in read_curations(recipe(tmp_path, text))] == [{"shoes": 2, "cars": 0.5}, "uned"]
    (own,) = read_curations(recipe(tmp_path, "{title: T, seed: 1, sources: [{data: sop}]}"))
    assert own.shares is None


def test_what_a_training_set_reads_are_its_sources_and_the_benchmarks_that_it_is_held_against(tmp_path: Path) -> None:
    near = "{backbone: clip-b16, cosine: 0.9, benchmark: BENCHMARK}"
    sources = f"[{{data: sop, near_duplicates: {near.replace('BENCHMARK', 'instre')}}}, {{data: met}}, {{data: sop}}]"
    (found,) = read_curations(recipe(tmp_path, f"{{title: T, seed: 1, shares: uned, sources: {sources}}}"))
    assert found.reads == ["sop", "met", "instre", "uned"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no keys"),
        ("{title: T, seed: 1, shares: {a: 0}, sources: [{data: sop}]}", "shares.by domain.a: Input should be greater"),
        ("{title: T, seed: 1, shares: {a: .inf}, sources: [{data: sop}]}", "shares.by domain.a: Input should be a fin"),
        (
            "{title: T, seed: 1, shares: {}, sources: [{data: sop}]}",
            "shares.by domain: it should have at least 1",
        ),
        ("{title: T, seed: 1, shares: 3, sources: [{data: sop}]}", "shares.benchmark: Input should be a valid string"),
        ("{title: T, seed: 1, sources: [{data: sop, near_duplicates: {cosine: 0.9}}]}", "'backbone' is missing"),
        (
            "{title: T, seed: 1, sources: [{data: sop, near_duplicates: {backbone: b, cosine: 1}}]}",
            "sources.0.near_duplicates.cosine: Input should be less than 1",
        ),
        (
            "{title: T, seed: 1, sources: [{data: sop, near_duplicates: {backbone: b, cosine: 0.9, queries: uned}}]}",
            "sources.0.near_duplicates: unknown key 'queries'",
        ),
        (
            "{title: T, seed: 1, sources: [{data: sop, minimum: 3}]}",
            "sources.0: unknown key 'minimum'; did you mean 'min'",
        ),
        ("{title: T, sources: [{data: sop}]}", "'seed' is missing"),
        ("{title: T, seed: 1, sources: [{data: sop, min: 3, cap: 2}]}", "cap 2 is less than min 3"),
        ("{title: T, seed: 1, sources: [{data: sop, min: 3, max: 2}]}", "max 2 is less than min 3"),
        ("{title: T, seed: 1, sources: [{data: sop, min: 0}]}", "sources.0.min: Input should be greater than 0"),
        ("{title: T, seed: 1, sources: [{data: sop, split: tran}]}", "'train', 'val' or 'test'"),
        ("{title: T, seed: 1, sources: [{data: sop, split: []}]}", "sources.0.split"),
        ("{title: T, seed: 1, sources: [{data: sop, split: [val, val]}]}", "a split is named twice in val, val"),
        ("{title: T, seed: 1, expected: {images: many}, sources: [{data: sop}]}", "expected.images"),
        ("{title: T, seed: 1}", "'mine' has no sources"),
        ("{title: T, seed: 1, sources: [{data: sop}], rows: [{name: a}, {name: a}]}", "two rows are named 'a'"),
        ("{title: T, seed: 1, sources: [{data: sop}], rows: [{name: a/b}]}", "'a/b' is no folder's name; write 'a-b'"),
        ("title: [", "cannot be read as a curation recipe"),
    ],
)
def test_a_faulty_recipe_is_refused_with_its_key(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(recipe(tmp_path, text))


def test_m4d_35k_is_drawn_as_the_released_code_draws_it() -> None:
    (m4d,) = read_curations(RECIPES / "m4d-35k.yaml")
    drawn = {s.data: (s.min, s.max, s.cap, s.classes) for s in m4d.sources}
    assert drawn == {
        "products-10k": (3, None, None, None),
        "gldv2": (3, None, 10, 10_000),
        "deepfashion-c2s": (3, None, None, None),
        "stanford-cars-refined": (3, None, None, None),
    }
    assert m4d.released == "m4d-35k"


@pytest.mark.parametrize(("table", "rows"), TABLES.items())
def test_every_row_of_the_appendix_has_one_named_training_set(table: str, rows: int) -> None:
    found = read_curations(RECIPES / f"appendix-{table}.yaml")
    assert len(found) == rows
    assert all(each.name.startswith(f"{table}-") and each.printed for each in found)
    assert len({each.printed for each in found}) == rows
    assert len({each.model_dump_json(include={"sources"}) for each in found}) == rows
    for each in found:
        stated = re.search(r"max (\d+)/class, (\d+)k", each.printed or "")
        if stated:
            gldv2 = each.sources[-1]
            assert (gldv2.data, gldv2.cap) == ("gldv2", int(stated[1]))
            assert gldv2.classes in (int(stated[2]) * 1000, None)
            assert gldv2.expected.classes == f"{stated[2]}k"


@pytest.mark.parametrize("table", TABLES)
def test_the_rows_are_called_what_the_paper_prints(table: str, shared: Shared) -> None:
    with shared(f"reference/unifex_appendix_table{table[1]}.csv").open() as file:
        printed = [row["row"] for row in csv.DictReader(file)]
    assert [each.printed for each in read_curations(RECIPES / f"appendix-{table}.yaml")] == printed


def test_the_expected_counts_of_m4d_35k_are_those_of_table_2(shared: Shared) -> None:
    (m4d,) = read_curations(RECIPES / "m4d-35k.yaml")
    with shared("reference/unifex_table2.csv").open() as file:
        printed = [(row["n_images"], row["n_classes"]) for row in csv.DictReader(file)]
    expected = [source.expected for source in m4d.sources] + [m4d.expected]
    assert [(each.images, each.classes) for each in expected] == printed


def test_every_recipe_of_the_folder_is_read_and_no_training_set_has_two_of_them() -> None:
    names = [each.name for path in sorted(RECIPES.glob("*.yaml")) for each in read_curations(path)]
    assert len(names) == len(set(names)) == 2 + sum(TABLES.values())
    assert all(isinstance(yaml.safe_load(path.read_text())["seed"], int) for path in RECIPES.glob("*.yaml"))


def test_every_data_set_of_the_recipes_is_in_the_catalogue() -> None:
    known = {each.name for each in all_datasets()}
    curations = [each for path in RECIPES.glob("*.yaml") for each in read_curations(path)]
    asked = {source.data for each in curations for source in each.sources} | {
        each.released for each in curations if each.released
    }
    assert asked <= known
