import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.data.curated import curate, write_curated
from probe.data.curation import Curation, Source, read_curations
from probe.data.curation_report import rounds_to
from probe.data.manifest import COLUMNS, ORIGIN, Manifest, read_manifest
from probe.data.resolve import MissingDataError, resolve_data
from probe.errors import UsageError
from tests.conftest import examples

Read = Callable[[str], Manifest]


def data_set(source: str, sizes: dict[str, int], split: str = "train", root: Path = Path("/data")) -> Manifest:
    """Label -> how many images."""
    cells = [
        (f"{label}/{number}.jpg", source, label, f"{source}'s", split, "train" if split == "train" else "both")
        for label, size in sizes.items()
        for number in range(size)
    ]
    return Manifest(pl.DataFrame(cells, COLUMNS, orient="row"), {source: root / source}, f"the data set '{source}'")


def reader(*found: Manifest, **named: Manifest) -> Read:
    known = {each.sources[0]: each for each in found} | named

    def read(name: str) -> Manifest:
        if name not in known:
            raise MissingDataError(f"there is no {name}.")
        return known[name]

    return read


def curation(*sources: Source, name: str = "mine", **fields: object) -> Curation:
    facts = {"title": "T", "printed": None, "seed": 42, "released": None, "expected": {}} | fields
    return Curation.model_validate({"name": name, "sources": list(sources), **facts})


def sizes(manifest: Manifest) -> dict[str, int]:
    return dict(manifest.frame.group_by("label").len().iter_rows())


def test_each_source_is_filtered_capped_and_thinned_in_that_order() -> None:
    met = data_set("met", {"a": 2, "b": 3, "c": 9, "d": 4})
    sop = data_set("sop", {"a": 5, "b": 30})
    wanted = curation(Source(data="met", min=3, max=8), Source(data="sop", min=3, cap=10, domain="products"))
    curated = curate(wanted, reader(met, sop))
    assert sizes(curated.manifest) == {"met/b": 3, "met/d": 4, "sop/a": 5, "sop/b": 10}
    assert curated.manifest.domains == ["met's", "products"]
    assert curated.manifest.roots == {"met": Path("/data/met"), "sop": Path("/data/sop")}
    assert [[tuple(step.model_dump().values()) for step in source.steps] for source in curated.report.sources] == [
        [("split train", 18, 4), ("min 3", 16, 3), ("max 8", 7, 2)],
        [("split train", 35, 2), ("min 3", 35, 2), ("cap 10", 15, 2)],
    ]
    assert [source.digest for source in curated.report.sources] == [met.digest, sop.digest]
    assert (curated.report.images, curated.report.classes) == (22, 4)
    assert curated.report.digest == curated.manifest.digest


def test_the_minimum_counts_before_the_cap_and_classes_are_drawn_last() -> None:
    met = data_set("met", {f"{number}": number + 1 for number in range(20)})
    curated = curate(curation(Source(data="met", min=3, cap=5, classes=7)), reader(met))
    assert len(sizes(curated.manifest)) == 7
    assert all(3 <= size <= 5 for size in sizes(curated.manifest).values())
    assert [step.step for step in curated.report.sources[0].steps] == ["split train", "min 3", "cap 5", "classes 7"]


def test_another_split_becomes_training_images() -> None:
    test = data_set("food-101", {"a": 3}, "test")
    both = Manifest(pl.concat([data_set("food-101", {"a": 2, "b": 1}).frame, test.frame]))
    read = reader(both)
    only_test = curate(curation(Source(data="food-101", split="test")), read).manifest
    assert only_test.frame.select("split", "role").unique().rows() == [("train", "train")]
    assert sizes(only_test) == {"food-101/a": 3}
    assert sizes(curate(curation(Source(data="food-101", split=["train", "test"])), read).manifest) == {
        "food-101/a": 3,
        "food-101/b": 1,
    }
    with pytest.raises(UsageError, match="has no split 'val'; known: test, train"):
        curate(curation(Source(data="food-101", split="val")), read)


def test_counts_are_compared_as_they_are_printed_and_never_forced() -> None:
    met = data_set("met", {f"{number}": 4 for number in range(13)})
    source = Source.model_validate({"data": "met", "expected": {"images": 52, "classes": "12"}})
    curated = curate(curation(source, expected={"images": "0.1k"}), reader(met))
    told = {c.what: (c.found, c.printed, c.agrees) for c in curated.report.sources[0].comparisons}
    assert told == {"images": (52, "52", True), "classes": (13, "12", False)}
    assert [c.agrees for c in curated.report.comparisons] == [True]
    assert curated.report.images == 52


@pytest.mark.parametrize(
    ("number", "printed", "agrees"),
    [
        (141_449, "141.5k", False),
        (141_450, "141.5k", True),
        (141_549, "141.5k", True),
        (141_550, "141.5k", False),
        (10_049, "10.0k", True),
        (9_949, "10.0k", False),
        (81_313, "81k", True),
        (3_355_000, "3.36M", True),
        (34_800, "34800", True),
        (34_801, "34800", False),
    ],
)
def test_a_count_agrees_when_it_rounds_to_what_is_printed(number: int, printed: str, agrees: bool) -> None:
    assert rounds_to(number, printed) == agrees


def test_the_published_list_wins_and_the_difference_is_told() -> None:
    met = data_set("met", {f"{number}": 4 for number in range(6)})
    kept = met.where_rows(~pl.col("label").is_in(["0", "1"]) & (pl.col("image") != "2/3.jpg"))
    extra = data_set("met", {"new": 2})
    frame = pl.concat([kept.frame, extra.frame]).with_columns(label=pl.lit("released ") + pl.col("label"))
    published = Manifest(frame, met.roots, "the list")
    curated = curate(curation(Source(data="met"), released="mine"), reader(met, mine=published))
    assert curated.manifest.frame.equals(published.frame)
    assert curated.report.published
    assert curated.report.digest == published.digest
    difference = curated.report.difference
    assert difference is not None
    assert (difference.images_in_both, difference.images_only_published, difference.images_only_drawn) == (15, 2, 9)
    assert (difference.classes_only_published, difference.classes_only_drawn) == (1, 2)
    assert difference.first_only_published == ["met/new/0.jpg", "met/new/1.jpg"]
    assert difference.first_only_drawn == [f"met/{i}/{j}.jpg" for i, j in ((0, 0), (0, 1), (0, 2), (0, 3), (1, 0))]


def test_without_the_published_list_it_is_drawn_and_without_the_sources_it_is_only_read() -> None:
    met = data_set("met", {"a": 3})
    wanted = curation(Source(data="met"), released="list")
    drawn = curate(wanted, reader(met))
    assert (drawn.report.published, drawn.report.difference, drawn.report.not_drawn) == (False, None, None)
    read = curate(wanted, reader(list=met))
    assert (read.report.published, read.report.difference) == (True, None)
    assert read.report.not_drawn == "there is no met."
    with pytest.raises(MissingDataError, match="there is no met"):
        curate(wanted, reader())


def test_an_earlier_draw_is_not_taken_for_the_published_list(tmp_path: Path) -> None:
    met = data_set("met", {"a": 30}, root=tmp_path)
    earlier, later = (curation(Source(data="met", cap=5), released="mine", seed=seed) for seed in (1, 2))
    write_curated(curate(earlier, reader(met)), tmp_path / "mine", tmp_path)

    def read(name: str) -> Manifest:
        return met if name == "met" else resolve_data(name, tmp_path)

    curated = curate(later, read)
    assert not curated.report.published
    assert curated.manifest.digest != resolve_data("mine", tmp_path).digest


def test_what_is_written_is_found_again_with_its_images_and_its_report(tmp_path: Path) -> None:
    met, sop = data_set("met", {"a": 3}, root=tmp_path / "art"), data_set("sop", {"a": 2}, root=tmp_path)
    for sources in ([Source(data="met")], [Source(data="met"), Source(data="sop")]):
        curated = curate(curation(*sources), reader(met, sop))
        path = write_curated(curated, tmp_path / "mine", tmp_path, overwrite=True)
        assert path == tmp_path / "mine" / "manifest.parquet"
        assert sorted(each.name for each in path.parent.iterdir()) == [ORIGIN, "manifest.parquet"]
        found = resolve_data("mine", tmp_path)
        assert found.digest == curated.manifest.digest == curated.report.digest
        assert found.roots == curated.manifest.roots
    written = json.loads((tmp_path / "mine" / ORIGIN).read_text())
    assert written["roots"] == {"met": "art/met", "sop": "sop"}
    assert written["report"] == json.loads(curated.report.model_dump_json())
    assert written["report"]["curation"]["seed"] == 42


def test_a_training_set_that_is_there_is_not_replaced_unless_told(tmp_path: Path) -> None:
    first, second = (curate(curation(Source(data="met")), reader(data_set("met", {"a": n}))) for n in (2, 3))
    path = write_curated(first, tmp_path / "mine", tmp_path)
    before = {each: each.read_bytes() for each in path.parent.iterdir()}
    with pytest.raises(UsageError, match=r"manifest\.parquet exists already"):
        write_curated(second, tmp_path / "mine", tmp_path)
    assert {each: each.read_bytes() for each in path.parent.iterdir()} == before
    write_curated(second, tmp_path / "mine", tmp_path, overwrite=True)
    assert len(read_manifest(path).frame) == 3


def test_what_cannot_be_taken_names_the_training_set_and_the_data_set() -> None:
    read = reader(data_set("met", {"a": 3, "b": 3}))
    with pytest.raises(UsageError, match=r"training set 'mine' cannot take 'met': .* 2 classes, not 5; draw fewer"):
        curate(curation(Source(data="met", classes=5)), read)


def test_two_data_sets_of_one_source_may_not_share_a_class_and_two_splits_of_one_data_set_may() -> None:
    met, other = data_set("met", {"a": 3, "b": 2}), data_set("met", {"b": 1, "c": 1}, "test")
    sources = [Source(data="met"), Source(data="other", split="test")]
    with pytest.raises(UsageError, match=r"'met' and 'other'.* 1 label.* in common, such as 'met/b'"):
        curate(curation(*sources), reader(met, other=other))
    apart = [sources[0], Source(data="other", split="test", domain="crops")]
    renamed = other.frame.with_columns(image="x" + pl.col("image"))
    read = reader(met, other=Manifest(renamed, other.roots))
    assert curate(curation(*apart), read).report.classes == 4
    both = Manifest(pl.concat([met.frame, renamed]), met.roots)
    sources = [Source(data="met"), Source(data="met", split="test")]
    assert curate(curation(*sources), reader(both)).report.classes == 3


def test_training_sets_of_one_recipe_draw_nested_images_of_the_same_sources() -> None:
    recipes = Path(__file__).resolve().parents[2] / "recipes" / "curation" / "appendix-a1.yaml"
    read = reader(
        data_set("products-10k", {f"{i}": i % 5 + 1 for i in range(20)}),
        data_set("gldv2", {f"{i}": i % 40 + 1 for i in range(90)}),
    )
    found = [curate(each, read).manifest for each in read_curations(recipes) if each.sources[-1].classes is None]
    images = [set(each.frame.select("source", "image").rows()) for each in found]
    assert all(less <= more for more, less in pairwise(images[1:]))
    assert images[0] < images[-1]
    assert {source for each in found for source in each.sources} == {"products-10k", "gldv2"}


@examples(12, 100)
@given(st.data())
def test_curation_holds_its_promises_whatever_the_input_and_its_order(data: st.DataObject) -> None:
    drawn = {
        name: data_set(name, data.draw(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9), min_size=1)))
        for name in ("met", "sop")
    }
    least = data.draw(st.integers(1, 4))
    most = data.draw(st.integers(least, 9))
    sources = [Source(data=name, min=least, cap=most, domain="all") for name in drawn]
    expected = {
        f"{name}/{label}": min(size, most)
        for name, manifest in drawn.items()
        for label, size in sizes(manifest).items()
        if size >= least
    }
    if any(not any(label.startswith(name) for label in expected) for name in drawn):
        with pytest.raises(UsageError, match="nothing is left"):
            curate(curation(*sources), reader(**drawn))
        return
    curated = curate(curation(*sources), reader(**drawn))
    assert sizes(curated.manifest) == expected
    assert curated.manifest.frame.select("source", "image").is_unique().all()  # so in one split and class each
    orders = data.draw(st.tuples(st.integers(0, 99), st.integers(0, 99)))
    shuffled = {
        name: Manifest(each.frame.sample(fraction=1, shuffle=True, seed=order), each.roots, each.where)
        for (name, each), order in zip(drawn.items(), orders, strict=True)
    }
    again = curate(curation(*reversed(sources)), reader(**shuffled))
    assert again.manifest.digest == curated.manifest.digest


def test_other_seeds_draw_other_training_sets_and_a_source_may_have_its_own() -> None:
    read = reader(data_set("met", {f"{i}": 9 for i in range(9)}))

    def digest(seed: int, own: int | None = None) -> str:
        return curate(curation(Source(data="met", cap=4, classes=5, seed=own), seed=seed), read).manifest.digest

    assert len({digest(seed) for seed in range(4)}) == 4
    assert digest(1, own=3) == digest(2, own=3) == digest(3)
