"""What may be wrong with a valid manifest: it stops no work, and should be known before a number is printed.

An image of a benchmark's index may be a training image as well (Met's index is its training set), but a query that was
trained on, or that another split has as a query, leaks. An image under two labels teaches both. A query whose class has
no other image in its split's index finds nothing and is left out of the means. Labels that look alike are often one.

    for problem in find_problems(manifest):
        print(problem.what, len(problem.rows))
"""

import re
import unicodedata
from dataclasses import dataclass

import polars as pl

from probe.data.labels import LISTS
from probe.data.manifest import Manifest
from probe.data.selection import CLASS, IMAGE

# control characters that are no blanks, and what Unicode calls default ignorable
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)


@dataclass(frozen=True)
class Problem:
    """`rows`: source, image and what else tells the case, sorted; never empty."""

    what: str
    rows: pl.DataFrame


def find_problems(manifest: Manifest) -> list[Problem]:
    """What was found, the worst first."""
    found = [
        Problem("queries that another split has as queries or as training images", _leaks(manifest.frame)),
        Problem("training images under several labels", _several_classes(manifest.split("train"))),
        Problem("queries with no other image of their class in the index", _nothing_to_find(manifest)),
        Problem("domains that differ by case or invisible characters alone", _look_alike(manifest.frame, "domain")),
        Problem("labels that differ by case or invisible characters alone", _look_alike(manifest.frame, "label")),
    ]
    return [problem for problem in found if not problem.rows.is_empty()]


def _leaks(frame: pl.DataFrame) -> pl.DataFrame:
    """Queries, and the splits in which they are queries or training images."""
    queries = frame.filter(pl.col("role").is_in(["query", "both"])).select(IMAGE).unique()
    seen = frame.filter(pl.col("role") != "index").join(queries, on=IMAGE, how="semi")
    splits = seen.group_by(IMAGE).agg(splits=pl.col("split").unique().sort().str.join(", "))
    return splits.filter(pl.col("splits").str.contains(",", literal=True)).sort(IMAGE)


def _several_classes(frame: pl.DataFrame) -> pl.DataFrame:
    repeated = frame.filter(frame.select(pl.struct(IMAGE).is_duplicated()).to_series())
    return repeated.select(*IMAGE, *CLASS).unique().sort(*IMAGE, *CLASS)


def _nothing_to_find(manifest: Manifest) -> pl.DataFrame:
    """Queries of classes of which the index has no image, or only the query."""
    place = ["split", "domain", "label"]
    rows = manifest.frame.filter(pl.col("split") != "train").with_row_index("row")
    rows = rows.explode("label") if manifest.has_several_labels else rows
    rows = rows.with_columns(key=pl.concat_str(*IMAGE, separator="\0"))
    index = rows.filter(pl.col("role") != "query").group_by(place).agg(low=pl.min("key"), high=pl.max("key"))
    queries = rows.filter(pl.col("role") != "index").join(index, on=place, how="left")
    finds = ((pl.col("low") != pl.col("key")) | (pl.col("high") != pl.col("key"))).fill_null(False)
    found = queries.group_by("row", *IMAGE, "split", "domain").agg(finds.any().alias("finds"), pl.col("label"))
    lost = found.filter(~pl.col("finds"))
    return lost.select(*IMAGE, "split", "domain", label=pl.col("label").list.sort().list.join(", ")).sort(pl.all())


def _look_alike(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """The first image of each domain, or of each label within its domain, that another one looks like."""
    rows = frame.explode("label") if frame.schema["label"] == LISTS else frame
    names = rows.group_by(list(dict.fromkeys(("domain", column)))).agg(pl.col(*IMAGE).sort_by(*IMAGE).first())
    names = names.with_columns(looks=pl.Series([_as_read(name) for name in names[column]], dtype=pl.String))
    place = ["looks"] if column == "domain" else ["domain", "looks"]
    alike = names.filter(pl.len().over(place) > 1).sort(*place, column)
    shown = pl.Series(column, [_with_codes(name) for name in alike[column]], dtype=pl.String)
    return alike.with_columns(shown).select(*IMAGE, *dict.fromkeys(("domain", column)))


def _as_read(name: str) -> str:
    """What people take for the same: without case, width, invisible characters, and the number and kind of blanks."""
    return " ".join(INVISIBLE.sub("", unicodedata.normalize("NFKC", name)).casefold().split())


def _with_codes(name: str) -> str:
    """What cannot be seen, and blanks other than the usual one, as escapes."""
    return "".join(ascii(c)[1:-1] if INVISIBLE.match(c) or (c.isspace() and c != " ") else c for c in name)
