import hashlib
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.data.labels import as_lists, to_text
from probe.data.manifest import COLUMNS, Manifest
from probe.data.selection import (
    cap,
    classes_between,
    concatenate,
    count,
    draw_classes,
    draw_validation,
    in_domain,
    namespaced,
    only,
)
from probe.errors import UsageError
from tests.conftest import examples

Rows = set[tuple[str, ...]]
Classes = dict[tuple[str, str], set[tuple[str, str]]]
names = st.text("a/%2Fé", min_size=1, max_size=5)
everything = examples(15, 40)


def rows(manifest: Manifest) -> Rows:
    return set(manifest.frame.with_columns(to_text(manifest.frame["label"])).iter_rows())


def images_of(manifest: Manifest) -> Classes:
    """Class -> its different images."""
    found: Classes = {}
    for row in manifest.frame.iter_rows(named=True):
        found.setdefault((row["domain"], row["label"]), set()).add((row["source"], row["image"]))
    return found


@st.composite
def manifests(draw: st.DrawFn, sources: tuple[str, ...] = ("gldv2", "met"), several: bool = False) -> Manifest:
    """Some dozens of rows over few classes; images recur under other labels and in other splits."""
    cell = st.tuples(
        st.integers(0, 30).map(lambda number: f"{number % 3}/{number}.jpg"),
        st.sampled_from(sources),
        st.sampled_from("abcde") if not several else st.lists(st.sampled_from("abcde"), min_size=1, unique=True),
        st.sampled_from(["landmarks", "art"]),
        st.sampled_from(["train", "val", "test"]),
    )
    drawn = draw(st.lists(cell, min_size=1, max_size=80, unique_by=lambda c: (c[0], c[1], str(c[2]), c[4])))
    roles = {"train": "train", "val": "both", "test": "query"}
    if several:
        drawn = [row if row[4] == "test" else (*row[:2], row[2][:1], *row[3:]) for row in drawn]
        drawn = list({(row[0], row[1], str(row[2]), row[4]): row for row in drawn}.values())
    frame = pl.DataFrame([(*row, roles[row[4]]) for row in drawn], COLUMNS, orient="row")
    return Manifest(frame, {source: Path("/data") / source for source in sources})


def shuffled(manifest: Manifest, seed: int) -> Manifest:
    return Manifest(manifest.frame.sample(fraction=1, shuffle=True, seed=seed), manifest.roots)


def toy(sizes: dict[str, int], source: str = "toy", domain: str = "toys") -> Manifest:
    """Training images; label -> how many."""
    cells = [
        (f"{label}/{number}.jpg", source, label, domain, "train", "train")
        for label, size in sizes.items()
        for number in range(size)
    ]
    return Manifest(pl.DataFrame(cells, COLUMNS, orient="row"), {source: Path("/data") / source})


@everything
@given(manifests(), st.integers(1, 6), st.integers(1, 8))
def test_filtering_keeps_whole_classes_whose_size_lies_between_the_bounds(m: Manifest, least: int, more: int) -> None:
    before, most = images_of(m), least + more
    expected = {name: images for name, images in before.items() if least <= len(images) <= most}
    if not expected:
        with pytest.raises(UsageError, match="nothing is left"):
            classes_between(m, least, most)
        return
    assert images_of(classes_between(m, least, most)) == expected


@everything
@given(manifests(), st.integers(1, 6), st.integers(0, 3))
def test_a_cap_holds_and_touches_no_class_below_it(m: Manifest, most: int, seed: int) -> None:
    before, after = images_of(m), images_of(cap(m, most, seed))
    assert after.keys() == before.keys()
    for name, images in after.items():
        assert images <= before[name]
        assert len(images) == min(most, len(before[name]))


@everything
@given(manifests(), st.integers(1, 6), st.integers(0, 3))
def test_all_rows_of_an_image_that_is_kept_stay_and_no_image_gets_into_another_split(
    m: Manifest, most: int, seed: int
) -> None:
    capped = cap(m, most, seed)
    assert rows(capped) <= rows(m)
    kept = images_of(capped)
    assert rows(capped) == {row for row in rows(m) if (row[1], row[0]) in kept[row[3], row[2]]}


@everything
@given(manifests(), st.integers(1, 10), st.integers(0, 3))
def test_drawn_classes_are_whole_and_as_many_as_asked_for(m: Manifest, wanted: int, seed: int) -> None:
    before = images_of(m)
    if wanted > len(before):
        with pytest.raises(UsageError, match=f"{len(before)} classes, not {wanted}; draw fewer"):
            draw_classes(m, wanted, seed)
        return
    after = images_of(draw_classes(m, wanted, seed))
    assert len(after) == wanted
    assert after.items() <= before.items()


@everything
@given(manifests(), st.integers(0, 1000), st.integers(0, 3))
def test_no_draw_depends_on_the_order_of_the_rows(m: Manifest, order: int, seed: int) -> None:
    other = shuffled(m, order)
    assert rows(cap(m, 2, seed)) == rows(cap(other, 2, seed))
    wanted = len(images_of(m)) // 2 + 1
    assert rows(draw_classes(m, wanted, seed)) == rows(draw_classes(other, wanted, seed))


@everything
@given(manifests(), st.integers(1, 4), st.integers(0, 3))
def test_a_smaller_draw_is_a_part_of_a_larger_one(m: Manifest, size: int, seed: int) -> None:
    assert rows(cap(m, size, seed)) <= rows(cap(m, size + 1, seed))
    classes = len(images_of(m))
    less, more = min(size, classes), min(size + 1, classes)
    assert rows(draw_classes(m, less, seed)) <= rows(draw_classes(m, more, seed))


def test_other_seeds_draw_other_images_and_classes() -> None:
    m = toy({f"class {number}": 40 for number in range(40)})
    assert len({frozenset(rows(cap(m, 5, seed))) for seed in range(5)}) == 5
    assert len({frozenset(rows(draw_classes(m, 5, seed))) for seed in range(5)}) == 5


def test_a_draw_ranks_by_the_documented_hash() -> None:
    def rank(*parts: str) -> int:
        return int.from_bytes(hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest(), "big")

    m = toy({"boot": 30, "shoe": 3, "hat": 30})
    images = sorted(m.images("toy"), key=lambda image: rank("42", "image", "toy", image))
    expected = {image for label in ("boot", "hat", "shoe") for image in [i for i in images if i.startswith(label)][:4]}
    assert set(cap(m, 4, 42).images("toy")) == expected
    assert {label for _, label in images_of(draw_classes(m, 2, 42))} == set(
        sorted(["boot", "shoe", "hat"], key=lambda label: rank("42", "class", label))[:2]
    )


@pytest.mark.slow
def test_every_image_of_a_class_is_drawn_about_equally_often() -> None:
    m = toy({"boot": 20})
    drawn = Counter(image for seed in range(400) for image in cap(m, 5, seed).images("toy"))
    assert len(drawn) == 20
    assert all(60 < times < 140 for times in drawn.values())  # 100 expected, standard deviation 8.7


@everything
@given(manifests(several=True))
def test_only_takes_exactly_the_rows_that_were_asked_for(m: Manifest) -> None:
    wanted = {"source": m.sources[:1], "domain": m.domains[-1:], "split": [m.frame["split"][0]]}
    expected = {row for row in rows(m) if row[1] in wanted["source"] and row[3] in wanted["domain"]}
    expected = {row for row in expected if row[4] in wanted["split"]}
    if not expected:
        with pytest.raises(UsageError, match="nothing is left"):
            only(m, sources=wanted["source"], domains=wanted["domain"], splits=wanted["split"])
        return
    selected = only(m, sources=wanted["source"], domains=wanted["domain"], splits=wanted["split"])
    assert rows(selected) == expected
    assert selected.roots.keys() == set(selected.sources)
    assert selected.digest == Manifest(selected.frame).digest  # as valid as one that was checked


def test_a_name_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="has no domain 'toy'; did you mean 'toys'"):
        only(toy({"boot": 1}), domains=["toy"])


@everything
@given(
    st.lists(names, min_size=2, max_size=4, unique=True),
    st.lists(st.text("xy/", min_size=1), min_size=1, max_size=3, unique=True),
)
def test_two_sources_with_equal_labels_never_share_a_class(sources: list[str], labels: list[str]) -> None:
    parts = []
    for source in sources:
        cells = [(f"{i}.jpg", source, label, "one", "train", "train") for i, label in enumerate(labels)]
        try:
            parts.append(Manifest(pl.DataFrame(cells, COLUMNS, orient="row")))
        except UsageError:
            return  # no folder's name
    joined = concatenate(parts)
    by_class = images_of(joined)
    assert len(by_class) == len(sources) * len(labels)
    assert all(len({source for source, _ in images}) == 1 for images in by_class.values())


@everything
@given(manifests(several=True))
def test_a_label_that_bears_its_source_stays_as_it_is(m: Manifest) -> None:
    once = namespaced(m)
    assert namespaced(once).frame.equals(once.frame)
    texts = as_lists(once.frame["label"]).to_list()
    before = as_lists(m.frame["label"]).to_list()
    assert texts == [[f"{s}/{label}" for label in each] for s, each in zip(m.frame["source"], before, strict=True)]


def test_labels_that_the_sources_name_would_merge_are_refused() -> None:
    with pytest.raises(UsageError, match="'boot' and 'toy/boot' of one source cannot be told apart"):
        namespaced(toy({"boot": 1, "toy/boot": 1}))


@everything
@given(manifests(("a",), several=True), manifests(("b",)), manifests(("c",), several=True))
def test_joining_is_associative_and_commutative_up_to_the_order_of_the_rows(
    a: Manifest, b: Manifest, c: Manifest
) -> None:
    left, right = concatenate([concatenate([a, b]), c]), concatenate([a, concatenate([b, c])])
    assert rows(left) == rows(right) == rows(concatenate([c, a, b]))
    assert len(left.frame) == len(a.frame) + len(b.frame) + len(c.frame)
    assert left.roots == {source: Path("/data") / source for part in (a, b, c) for source in part.roots}


def test_an_image_that_two_parts_have_under_one_label_is_refused() -> None:
    with pytest.raises(UsageError, match="the same image, label and split twice"):
        concatenate([toy({"boot": 2}), toy({"boot": 1})])


def test_a_source_in_two_folders_is_refused() -> None:
    moved = Manifest(toy({"hat": 1}).frame, {"toy": Path("/elsewhere")})
    with pytest.raises(UsageError, match="the source 'toy' lies in /data/toy and in /elsewhere"):
        concatenate([toy({"boot": 1}), moved])


def test_one_domain_for_all_rows_is_refused_where_it_would_merge_classes() -> None:
    both = concatenate([toy({"boot": 1}, "a"), toy({"boot": 1}, "b", "shoes")])
    assert in_domain(both, "things").domains == ["things"]
    assert len(images_of(in_domain(both, "things"))) == 2
    plain = Manifest(pl.concat([toy({"boot": 1}, "a").frame, toy({"boot": 1}, "b", "shoes").frame]))
    with pytest.raises(UsageError, match=r"1 label\(s\) in several domains .* among them 'boot'"):
        in_domain(plain, "things")


def test_class_sizes_are_refused_where_queries_have_several_labels() -> None:
    cells = [("q.jpg", "s", ["a", "b"], "d", "test", "query"), ("i.jpg", "s", ["a"], "d", "test", "index")]
    m = Manifest(pl.DataFrame(cells, COLUMNS, orient="row"))
    for refused in (lambda: cap(m, 1, 0), lambda: classes_between(m, 1), lambda: draw_classes(m, 1, 0)):
        with pytest.raises(UsageError, match="queries of several labels"):
            refused()
    assert not only(m, roles=["index"]).has_several_labels


@everything
@given(manifests(several=True))
def test_counts_are_those_of_plain_sets(m: Manifest) -> None:
    images: dict[tuple[str, str], set] = {}
    classes: dict[tuple[str, str], set] = {}
    listed = m.frame.with_columns(as_lists(m.frame["label"]))
    for row in listed.iter_rows(named=True):
        key = row["domain"], row["split"]
        images.setdefault(key, set()).add((row["source"], row["image"]))
        classes.setdefault(key, set()).update(row["label"])
    expected = [(*key, len(images[key]), len(classes[key])) for key in sorted(images)]
    assert count(m).rows() == expected
    domains_and_labels = {(row["domain"], label) for row in listed.iter_rows(named=True) for label in row["label"]}
    everything = (len({(row["source"], row["image"]) for row in listed.iter_rows(named=True)}), len(domains_and_labels))
    assert count(m, by=()).rows() == [everything]


def benchmark(sizes: dict[str, int], domain: str = "d") -> list[tuple[str, ...]]:
    """Training classes of so many images, and a test class."""
    rows = [(f"{label}/{i}", "s", label, domain, "train", "train") for label, n in sizes.items() for i in range(n)]
    return rows + [(f"{domain}/t{i}", "s", "t", domain, "test", "both") for i in range(2)]


def manifest_of(*rows: tuple[str, ...]) -> Manifest:
    return Manifest(pl.DataFrame(rows, COLUMNS, orient="row"))


def classes_in(manifest: Manifest, split: str) -> set[tuple[str, str]]:
    return set(manifest.split(split).select("domain", "label").iter_rows())


def test_a_tenth_of_each_domains_training_classes_validates_and_trains_nothing():
    rows = benchmark({f"a{i}": 2 + i % 3 for i in range(40)}) + benchmark({f"b{i}": 2 for i in range(3)}, "e")
    drawn = draw_validation(manifest_of(*rows), 0.1, seed=0)
    assert Counter(domain for domain, _ in classes_in(drawn, "val")) == {"d": 4, "e": 1}
    assert classes_in(drawn, "val").isdisjoint(classes_in(drawn, "train"))
    assert drawn.split("val")["role"].unique().to_list() == ["both"]
    before = manifest_of(*rows)
    assert set(drawn.frame["image"]) == set(before.frame["image"])
    assert drawn.split("test").equals(before.split("test"))
    assert drawn.where.endswith("(validated on 5 of its 43 training classes)")


def test_which_classes_validate_follows_from_the_seed_and_never_from_the_order_of_the_rows():
    rows = benchmark({f"a{i}": 2 for i in range(40)})
    forward, backward = (draw_validation(manifest_of(*part), 0.1, seed=0) for part in (rows, rows[::-1]))
    assert classes_in(forward, "val") == classes_in(backward, "val")
    others = [classes_in(draw_validation(manifest_of(*rows), 0.1, seed), "val") for seed in range(1, 5)]
    assert any(other != classes_in(forward, "val") for other in others)


def test_classes_of_one_image_and_classes_that_share_an_image_never_validate():
    rows = benchmark({"alone": 1, "one": 2, "other": 2, "free": 2})
    rows += [("one/0", "s", "other", "d", "train", "train")]  # an image of two classes
    for seed in range(8):
        assert classes_in(draw_validation(manifest_of(*rows), 0.9, seed), "val") == {("d", "free")}


def test_the_datas_own_validation_is_replaced_and_the_last_class_still_trains():
    rows = [*benchmark({"a": 2, "b": 2}), ("v0", "s", "v", "d", "val", "both"), ("v1", "s", "v", "d", "val", "both")]
    drawn = draw_validation(manifest_of(*rows), 0.9, seed=0)
    assert len(classes_in(drawn, "val")) == len(classes_in(drawn, "train")) == 1
    assert ("d", "v") not in classes_in(drawn, "val")


def test_where_no_class_can_be_spared_the_keys_that_mend_it_are_named():
    for sizes in ({"a": 9}, {"a": 1, "b": 1}):
        with pytest.raises(
            UsageError, match=r"no training class of two images or more to spare for validation; .*`val`.*`train`"
        ):
            draw_validation(manifest_of(*benchmark(sizes)), 0.1, seed=0)
