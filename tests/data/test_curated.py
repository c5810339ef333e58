import hashlib
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.data.curated import LeftOut, curate, write_curated
from probe.data.curation import Curation, NearDuplicates, Source, read_curations
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


@examples(12, 50)
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


def of_domains(**sizes: dict[str, int]) -> Manifest:
    """Domain -> label -> how many images, in one source."""
    parts = [data_set("shop", {f"{domain} {label}": n for label, n in of.items()}) for domain, of in sizes.items()]
    frames = [part.frame.with_columns(domain=pl.lit(domain)) for domain, part in zip(sizes, parts, strict=True)]
    return Manifest(pl.concat(frames), {"shop": Path("/data/shop")}, "the shop")


def drawn_by_shares(manifest: Manifest, shares: dict[str, float], seed: int) -> set[str]:
    """The classes that stay, in plain loops: whole ones in their random order, while that brings a domain nearer."""
    order: dict[str, list[tuple[bytes, str, int]]] = {}
    for (domain, label), rows in manifest.frame.group_by("domain", "label"):
        rank = hashlib.blake2b(f"{seed}\0class\0shop/{label}".encode(), digest_size=8).digest()
        order.setdefault(str(domain), []).append((rank, f"shop/{label}", len(rows)))
    together = min(sum(size for *_, size in classes) / shares[domain] for domain, classes in order.items())
    stay = set()
    for domain, classes in order.items():
        wanted, images = shares[domain] * together, 0
        for _, label, size in sorted(classes):
            if abs(images + size - wanted) >= abs(images - wanted) - 1e-9:
                break
            stay.add(label)
            images += size
    return stay


@pytest.mark.slow
@examples(40, 150)
@given(st.data())
def test_shares_are_had_by_whole_random_classes_beside_the_scarcest_domain(data: st.DataObject) -> None:
    domains = ["art", "cars", "dishes"][: data.draw(st.integers(1, 3))]
    classes = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 6), min_size=4)
    manifest = of_domains(**{domain: data.draw(classes) for domain in domains})
    shares = {domain: data.draw(st.sampled_from([1.0, 2.5, 40.0])) for domain in domains}
    seed = data.draw(st.integers(0, 9))
    expected = drawn_by_shares(manifest, shares, seed)
    wanted = curation(Source(data="shop"), shares=shares, seed=seed)
    if {label.split("/")[1].split(" ")[0] for label in expected} != set(domains):
        with pytest.raises(UsageError, match=r"beside all \d+ images of '\w+' the share of '\w+' is"):
            curate(wanted, reader(manifest))
        return
    curated = curate(wanted, reader(manifest))
    found = sizes(curated.manifest)
    assert found.keys() == expected
    assert {f"shop/{label}": size for label, size in sizes(manifest).items()}.items() >= found.items()
    told = {share.domain: share for share in curated.report.shares}
    assert told.keys() == set(domains)
    for domain, share in told.items():
        of_domain = [size for label, size in found.items() if label.startswith(f"shop/{domain} ")]
        assert (share.images, share.classes) == (sum(of_domain), len(of_domain))
        assert share.requested == pytest.approx(shares[domain] / sum(shares.values()))
        assert share.obtained == pytest.approx(sum(of_domain) / sum(found.values()))


def test_equal_classes_give_the_very_shares_and_fewer_of_a_domain_are_some_of_the_more() -> None:
    manifest = of_domains(art={f"{i}": 5 for i in range(40)}, cars={f"{i}": 5 for i in range(10)})
    kept: list[set[str]] = []
    for art in (4, 2, 1):
        curated = curate(curation(Source(data="shop"), shares={"art": art, "cars": 1}), reader(manifest))
        assert [(each.requested, each.obtained) for each in curated.report.shares] == [
            (art / (art + 1), art / (art + 1)),
            (1 / (art + 1), 1 / (art + 1)),
        ]
        kept.append(set(sizes(curated.manifest)))
    assert kept[0] > kept[1] > kept[2]
    shuffled = Manifest(manifest.frame.sample(fraction=1, shuffle=True, seed=3), manifest.roots)
    again = curate(curation(Source(data="shop"), shares={"cars": 0.5, "art": 0.5}), reader(shop=shuffled))
    assert set(sizes(again.manifest)) == kept[2]
    other = curate(curation(Source(data="shop"), shares={"art": 1, "cars": 1}, seed=7), reader(manifest))
    assert set(sizes(other.manifest)) != kept[2]


def test_shares_may_be_those_of_a_benchmarks_test_queries() -> None:
    manifest = of_domains(art={f"{i}": 5 for i in range(40)}, cars={f"{i}": 5 for i in range(10)})
    rows = [("art", "query", "test")] * 6 + [("cars", "both", "test")] * 2
    rows += [("cars", "index", "test"), ("cars", "both", "val"), ("art", "train", "train")]
    cells = [(f"{i}.jpg", "bench", "x", domain, split, role) for i, (domain, role, split) in enumerate(rows)]
    benchmark = Manifest(pl.DataFrame(cells, COLUMNS, orient="row"), {}, "the benchmark")
    curated = curate(curation(Source(data="shop"), shares="bench"), reader(manifest, bench=benchmark))
    assert [(share.domain, share.requested, share.images) for share in curated.report.shares] == [
        ("art", 0.75, 150),
        ("cars", 0.25, 50),
    ]
    training = benchmark.where_rows(pl.col("split") == "train")
    with pytest.raises(UsageError, match="the benchmark has no split 'test'"):
        curate(curation(Source(data="shop"), shares="bench"), reader(manifest, bench=training))


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"art": 1, "cars": 1, "toys": 1}, r"set 'mine' has no image of 'toys', .* \(its domains: art, cars\)"),
        ({"art": 1}, r"set 'mine' has images of 'cars', for which there is no share; add one"),
        ({"art": 1, "cars": 50}, r"beside all 50 images of 'cars' the share of 'art' is 1\.0, and a class of it has 5"),
    ],
)
def test_shares_that_cannot_be_had_say_what_is_missing(shares: dict[str, float], said: str) -> None:
    manifest = of_domains(art={f"{i}": 5 for i in range(40)}, cars={f"{i}": 5 for i in range(10)})
    with pytest.raises(UsageError, match=said):
        curate(curation(Source(data="shop"), shares=shares), reader(manifest))


NEAR = NearDuplicates(backbone="clip-b16", cosine=0.9, benchmark="uned")


def left_out(*images: tuple[str, str, bool]) -> LeftOut:
    """Of met: image, label, and whether it is near a query."""
    cells = [("met", image, "met's", label, "met", "a/9.jpg", of_query, 0.95) for image, label, of_query in images]
    columns = ["source", "image", "domain", "label", "near_source", "near_image", "of_query", "cosine"]
    return LeftOut(pl.DataFrame(cells, columns, orient="row"), "clip-b16/met:0123")


def test_near_duplicates_go_before_the_minimum_and_the_cap_and_are_told_and_listed(tmp_path: Path) -> None:
    met, sop = data_set("met", {"a": 3, "b": 3, "c": 9}, root=tmp_path), data_set("sop", {"a": 5}, root=tmp_path)
    found = left_out(("a/1.jpg", "a", False), ("c/0.jpg", "c", True), ("c/8.jpg", "c", False))
    wanted = curation(Source(data="met", near_duplicates=NEAR, min=3, cap=7), Source(data="sop"))
    curated = curate(wanted, reader(met, sop), lambda source: {"met": found}[source.data])
    assert sizes(curated.manifest) == {"met/b": 3, "met/c": 7, "sop/a": 5}
    assert {"c/0.jpg", "c/8.jpg"}.isdisjoint(curated.manifest.images("met"))
    of_met, of_sop = curated.report.sources
    assert [tuple(step.model_dump().values()) for step in of_met.steps] == [
        ("split train", 15, 3),
        ("near-duplicates 0.9", 12, 3),
        ("min 3", 10, 2),
        ("cap 7", 10, 2),
    ]
    assert of_met.near_duplicates is not None
    assert tuple(of_met.near_duplicates.model_dump().values()) == (2, 1, "clip-b16/met:0123")
    assert of_sop.near_duplicates is None
    path = write_curated(curated, tmp_path / "mine", tmp_path)
    listed = pl.read_csv(path.with_name("near-duplicates.csv"), infer_schema=False)
    assert listed["data"].to_list() == ["met"] * 3
    assert listed.select("image", "label", "of_query").rows() == [
        ("a/1.jpg", "a", "false"),
        ("c/0.jpg", "c", "true"),
        ("c/8.jpg", "c", "false"),
    ]
    assert resolve_data("mine", tmp_path).digest == curated.manifest.digest
    write_curated(curate(curation(Source(data="met")), reader(met)), tmp_path / "mine", tmp_path, overwrite=True)
    assert not path.with_name("near-duplicates.csv").exists()


def test_near_duplicates_cannot_be_left_out_without_features() -> None:
    wanted = curation(Source(data="met", near_duplicates=NEAR))
    with pytest.raises(UsageError, match="cannot take 'met': near-duplicates are found by stored features"):
        curate(wanted, reader(data_set("met", {"a": 3})))
