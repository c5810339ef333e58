"""What the papers do to manifests: select, filter classes by size, cap them, draw some of them, join manifests, count.

Every function takes a manifest and gives a new one. Nothing depends on the order of the rows. What is random is decided
by content: images and classes are ranked by a hash of the seed and their name, and the first are kept. So a cap of 10
keeps a part of what a cap of 20 keeps, and 10,000 classes are among the 20,000 of the same seed.

    train = only(gldv2, splits=["train"])
    subset = draw_classes(cap(classes_between(train, least=3), most=10, seed=42), count=10_000, seed=42)
"""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from probe.data.labels import LISTS, as_lists
from probe.data.manifest import Manifest
from probe.errors import UsageError, nearest

CLASS = ("domain", "label")
IMAGE = ("source", "image")
BLOCK = 1 << 16  # rows that are hashed at a time


def only(
    manifest: Manifest,
    *,
    sources: Sequence[str] | None = None,
    domains: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    roles: Sequence[str] | None = None,
) -> Manifest:
    """The rows of these sources, domains, splits and roles. Raises UsageError for one that the manifest lacks."""
    keep = pl.lit(True)
    for column, wanted in (("source", sources), ("domain", domains), ("split", splits), ("role", roles)):
        if wanted is None:
            continue
        known = manifest.frame[column].unique().to_list()
        for name in wanted:
            if name not in known:
                raise UsageError(f"{manifest.where} has no {column} '{name}'; {nearest(name, known)}")
        keep &= pl.col(column).is_in(wanted)
    return manifest.where_rows(keep)


def queries(manifest: Manifest) -> Manifest:
    """The rows of images that are queries, in whatever split. Raises UsageError where there are none."""
    return manifest.where_rows(pl.col("role").is_in(["query", "both"]))


def without(manifest: Manifest, rows: pl.DataFrame) -> Manifest:
    """All but the rows of these images and classes."""
    return _joined(manifest, rows, [*IMAGE, *CLASS], "anti")


def classes_between(manifest: Manifest, least: int = 1, most: int | None = None) -> Manifest:
    """The classes that have at least `least` and at most `most` different images."""
    size = _class_sizes(manifest)
    return manifest.where_rows((size >= least) & (size <= (len(size) if most is None else most)))


def cap(manifest: Manifest, most: int, seed: int) -> Manifest:
    """Of every class with more than `most` different images, that many random ones."""
    too_many = _class_sizes(manifest) > most
    ranked = _ranked("image", seed, manifest.frame.filter(too_many), IMAGE)
    last = pl.col("rank").unique().bottom_k(most).max().over(CLASS)
    keep = (~too_many).to_numpy(writable=True)
    keep[~keep] = ranked.select(pl.col("rank") <= last).to_series().to_numpy()
    return manifest.where_rows(pl.Series(keep))


def draw_classes(manifest: Manifest, count: int, seed: int) -> Manifest:
    """Random classes, `count` of them. Raises UsageError when there are fewer."""
    _require_one_label(manifest)
    classes = _ranked("class", seed, manifest.frame.select(CLASS).unique(), ("label",))
    if len(classes) < count:
        raise UsageError(f"{manifest.where} has {len(classes):,} classes, not {count:,}; draw fewer.")
    return _joined(manifest, classes.sort("rank", "domain").head(count), CLASS, "semi")


def draw_shares(manifest: Manifest, shares: Mapping[str, float], seed: int) -> Manifest:
    """Of each domain so many random classes that its share of all images comes nearest to the one asked for.

    Shares are of images, as the papers have them ("the percentage of each category"), and classes are drawn whole, as
    GUIEC's 6th place draws and UniFEx (Appendix Table 1) drops them. `shares`: positive numbers by domain, of which
    only the ratios count. The scarcest domain stays whole, and the others are drawn to match it. Raises UsageError for
    domains with a share and no images, or the reverse, and where a share is less than half of a class.
    """
    _require_one_label(manifest)
    classes = manifest.frame.group_by(CLASS).agg(images=pl.struct(IMAGE).n_unique())
    held = dict(classes.group_by("domain").agg(pl.col("images").sum()).iter_rows())
    _require_same_domains(manifest, shares, held)
    scarcest = min(sorted(shares), key=lambda domain: held[domain] / shares[domain])
    chosen = []
    for domain in sorted(shares):
        wanted = held[scarcest] * (shares[domain] / shares[scarcest])
        ranked = _ranked("class", seed, classes.filter(domain=domain), ("label",)).sort("rank", "label")
        sizes = np.r_[0, ranked["images"].cum_sum().to_numpy()]
        number = int(np.abs(sizes - wanted).argmin())
        if not number:
            raise UsageError(
                f"beside all {held[scarcest]:,} images of '{scarcest}' the share of '{domain}' is {wanted:,.1f}, and a "
                f"class of it has {sizes[1]:,}; draw more of '{scarcest}', or cap the classes of '{domain}'."
            )
        chosen.append(ranked.head(number))
    return _joined(manifest, pl.concat(chosen), CLASS, "semi")


def draw_validation(manifest: Manifest, share: float, seed: int) -> Manifest:
    """Of each domain, this share of the training classes (rounded, at least one, never the last) is for validation, in
    place of any other; each of their images is query and index, and trains nothing.

    Drawn are classes of two images or more that share none with another training class, by a hash of the seed and the
    class: the order of the rows decides nothing. Raises UsageError where there is no class to draw.
    """
    train = manifest.split("train")
    of_image = train.with_columns(classes_of_image=pl.len().over(IMAGE))
    classes = of_image.group_by(CLASS).agg(images=pl.len(), alone=pl.col("classes_of_image").max() == 1)
    number = pl.len().cast(pl.Float64)
    wanted = pl.min_horizontal((share * number).round().clip(1), number - 1)
    suitable = classes.filter((pl.col("images") > 1) & pl.col("alone"))
    ranked = _ranked("class", seed, suitable, CLASS).join(classes.group_by("domain").agg(wanted=wanted), on="domain")
    drawn = ranked.filter(pl.col("rank").rank("ordinal").over("domain") <= pl.col("wanted"))
    if drawn.is_empty():
        raise UsageError(
            f"{manifest.where} has no training class of two images or more to spare for validation; give some of its "
            "rows the split `val`, or name other training images with `train`."
        )
    for_validation = train.join(drawn, on=CLASS, how="semi").with_columns(split=pl.lit("val"), role=pl.lit("both"))
    parts = [train.join(drawn, on=CLASS, how="anti"), for_validation, manifest.split("test")]
    several = any(part.schema["label"] == LISTS for part in parts)
    frames = [part.with_columns(as_lists(part["label"])) for part in parts] if several else parts
    of_all = f"{len(drawn):,} of its {len(classes):,} training classes"
    return Manifest(pl.concat(frames), manifest.roots, f"{manifest.where} (validated on {of_all})", manifest.name)


def in_domain(manifest: Manifest, domain: str) -> Manifest:
    """All rows in this one domain. Raises UsageError where two of the former domains share a label."""
    domains_of = _classes(manifest).unique().group_by("label").len()
    shared = domains_of.filter(pl.col("len") > 1)["label"]
    if not shared.is_empty():
        raise UsageError(
            f"{manifest.where} has {len(shared):,} label(s) in several domains that would become one class in "
            f"'{domain}', among them '{shared.min()}'; select one domain first."
        )
    return Manifest(manifest.frame.with_columns(domain=pl.lit(domain)), manifest.roots, manifest.where)


def namespaced(manifest: Manifest) -> Manifest:
    """Labels as `<source>/<label>`, so that no two sources share a class; a label that has this form already stays.

    A slash in a source's name becomes %2F. Raises UsageError where a source has both `x` and `<source>/x`.
    """
    lists, label = manifest.has_several_labels, pl.col("label")
    source = pl.col("source").str.replace_all("%", "%25", literal=True).str.replace_all("/", "%2F", literal=True)
    rows = manifest.frame.select(*CLASS, "source").with_row_index("row")
    rows = (rows.explode("label") if lists else rows).with_columns(plain=label, prefix=source + "/")
    has_prefix = label.str.starts_with(pl.col("prefix"))
    rows = rows.with_columns(label=pl.when(has_prefix).then(label).otherwise(pl.col("prefix") + label))
    classes = rows.select(*CLASS, "plain").unique()
    merged = classes.filter(classes.select(CLASS).is_duplicated())["plain"]
    if not merged.is_empty():
        raise UsageError(
            f"{manifest.where}: the labels '{merged.min()}' and '{merged.max()}' of one source cannot be told "
            "apart once they bear its name; rename one of them."
        )
    labels = rows.group_by("row", maintain_order=True).agg("label")["label"] if lists else rows["label"]
    return Manifest(manifest.frame.with_columns(labels), manifest.roots, manifest.where)


def concatenate(manifests: Sequence[Manifest], where: str = "the joined manifest") -> Manifest:
    """The rows of all, with namespaced labels.

    Raises UsageError where two of them have the same image, label and split, or keep a source in different folders.
    """
    parts = [namespaced(manifest) for manifest in manifests]
    roots: dict[str, Path] = {}
    for part in parts:
        for source, root in part.roots.items():
            if roots.setdefault(source, root) != root:
                raise UsageError(f"the source '{source}' lies in {roots[source]} and in {root}; keep one of them.")
    frames = [part.frame for part in parts]
    if any(part.has_several_labels for part in parts):
        frames = [frame.with_columns(as_lists(frame["label"])) for frame in frames]
    return Manifest(pl.concat(frames), roots, where)


def with_training(benchmark: Manifest, training: Manifest, splits: Sequence[str] = ("train",)) -> Manifest:
    """These splits of `training`, and the others of the benchmark; labels are namespaced.

    Raises UsageError where one lacks its part, or the two keep a source in different folders.
    """
    parts = [only(training, splits=splits), benchmark.where_rows(~pl.col("split").is_in(splits))]
    return concatenate(parts, f"{benchmark.where}, trained on {training.where}")


def count(manifest: Manifest, by: Sequence[str] = ("domain", "split")) -> pl.DataFrame:
    """The numbers of different `images` and `classes`: a row for each value of `by` (not image or label), sorted."""
    images = manifest.frame.select(*by, *(name for name in IMAGE if name not in by)).unique()
    classes = _classes(manifest, by).unique()
    if not by:
        return pl.DataFrame({"images": [len(images)], "classes": [len(classes)]})
    counted = images.group_by(by).agg(images=pl.len()).join(classes.group_by(by).agg(classes=pl.len()), on=by)
    return counted.sort(by)


def _classes(manifest: Manifest, besides: Sequence[str] = ()) -> pl.DataFrame:
    """A row for each label of each row: its class, and the columns named besides."""
    rows = manifest.frame.select(*CLASS, *(name for name in besides if name not in CLASS))
    return rows.explode("label") if manifest.has_several_labels else rows


def _joined(manifest: Manifest, others: pl.DataFrame, on: Sequence[str], how: Literal["semi", "anti"]) -> Manifest:
    """The rows that are among the others by these columns, or are not."""
    rows = manifest.frame.select(on).with_row_index("row").join(others, on=on, how=how)["row"]
    keep = np.zeros(len(manifest.frame), bool)
    keep[rows.to_numpy()] = True
    return manifest.where_rows(pl.Series(keep))


def _require_same_domains(manifest: Manifest, shares: Mapping[str, float], held: Mapping[str, int]) -> None:
    absent, unshared = ([f"'{name}'" for name in sorted(a - b)] for a, b in permutations((set(shares), set(held))))
    if absent:
        raise UsageError(
            f"{manifest.where} has no image of {', '.join(absent)}, of which a share is asked for (its domains: "
            f"{', '.join(sorted(held))}); draw from data of that `domain`, or leave out its share."
        )
    if unshared:
        raise UsageError(
            f"{manifest.where} has images of {', '.join(unshared)}, for which there is no share; add one, or leave out "
            "the data."
        )


def _class_sizes(manifest: Manifest) -> pl.Series:
    """How many different images the class of each row has."""
    _require_one_label(manifest)
    of_image = manifest.frame.select(*CLASS, *IMAGE)
    first = pl.repeat(True, len(of_image), eager=True)
    if of_image.select(pl.struct(pl.all()).hash()).to_series().n_unique() < len(of_image):
        first = of_image.select(pl.struct(pl.all()).is_first_distinct()).to_series()
    return of_image.with_columns(first=first).select(pl.col("first").sum().over(CLASS)).to_series()


def _require_one_label(manifest: Manifest) -> None:
    if manifest.has_several_labels:
        raise UsageError(
            f"{manifest.where} has queries of several labels, which are in no one class; select other rows."
        )


def _ranked(kind: str, seed: int, rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """With a column `rank`: the first 8 bytes, as a number, of BLAKE2b-64 over `<seed> NUL <kind>` and NUL + each name.

    The same on every machine and in every version of every library.
    """
    start = hashlib.blake2b(f"{seed}\0{kind}".encode(), digest_size=8)

    def digest(text: str) -> bytes:
        state = start.copy()
        state.update(text.encode())
        return state.digest()

    texts = rows.select(pl.concat_str([pl.lit("\0") + pl.col(name) for name in names])).to_series()
    digests = (digest(text) for block in range(0, len(texts), BLOCK) for text in texts[block : block + BLOCK])
    ranks = np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)
    return rows.with_columns(rank=pl.Series(ranks, dtype=pl.UInt64))
