import hashlib
import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.data.manifest import COLUMNS, Manifest, read_manifest
from probe.errors import UsageError
from tests.conftest import examples

ROWS = [
    ("cat/1.jpg", "pets", "cat", "animals", "train", "train"),
    ("cat/2.jpg", "pets", "cat", "animals", "val", "both"),
    ("dog/1.jpg", "pets", "dog", "animals", "test", "query"),
    ("dog/2.jpg", "pets", "dog", "animals", "test", "index"),
]
FRAME = pl.DataFrame(ROWS, COLUMNS, orient="row")
anything = (
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12) | st.text('[]",\\ \r\n', min_size=1)
).map(lambda drawn: unicodedata.normalize("NFC", drawn.strip() or "x"))


def digest_of_old(frame: pl.DataFrame) -> str:
    """What a manifest of single labels had as its digest before there were others: results are keyed by it."""
    digest = hashlib.sha256()
    for column in frame:
        digest.update(column.str.len_bytes().to_numpy().astype("<u4").tobytes())
        digest.update("".join(column).encode())
    return digest.hexdigest()


def queries(labels: list) -> Manifest:
    """Test queries of these lists of labels."""
    frame = pl.DataFrame({"image": [f"{i}.jpg" for i in range(len(labels))], "source": "s"})
    labels_of = pl.Series("label", labels, pl.List(pl.String))
    return Manifest(frame.with_columns(labels_of, domain=pl.lit("d"), split=pl.lit("test"), role=pl.lit("query")))


def written(folder: Path, manifest: Manifest) -> list[Path]:
    paths = [folder / "written.csv", folder / "written.parquet"]
    for path in paths:
        manifest.write(path, overwrite=True)
    return paths


def file_of(folder: Path, frame: pl.DataFrame, suffix: str = ".csv") -> Path:
    path = folder / f"manifest{suffix}"
    frame.write_parquet(path) if suffix == ".parquet" else frame.write_csv(path)
    return path


def with_cell(row: int, column: str, value: str | None) -> pl.DataFrame:
    values = FRAME[column].to_list()
    values[row] = value
    return FRAME.with_columns(pl.Series(column, values))


def refusal(path: Path) -> str:
    """What the reader says; it names the file."""
    with pytest.raises(UsageError) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_manifest_comes_back_row_by_row(tmp_path: Path, suffix: str) -> None:
    shuffled = FRAME.select(reversed(COLUMNS))
    manifest = read_manifest(file_of(tmp_path, shuffled, suffix))
    assert manifest.frame.equals(FRAME)
    assert manifest.split("test").rows() == ROWS[2:]
    assert manifest.images("pets") == ["cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg"]
    assert (manifest.sources, manifest.domains) == (["pets"], ["animals"])
    assert manifest.roots == {"pets": tmp_path}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    assert f"lacks the column '{column}'" in refusal(file_of(tmp_path, FRAME.drop(column)))


def test_an_unknown_column_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    frame = FRAME.with_columns(pl.lit("x").alias("labels"))
    assert "unknown column 'labels'; did you mean 'label'?" in refusal(file_of(tmp_path, frame))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("value", ["", None])
@pytest.mark.parametrize("column", COLUMNS)
def test_an_empty_field_is_refused_with_its_row(tmp_path: Path, column: str, value: str | None, suffix: str) -> None:
    said = refusal(file_of(tmp_path, with_cell(2, column, value), suffix))
    assert "has an empty field in 1 row(s), the first in row 3" in said


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        *(
            ("image", image, "an image path that is not relative to the source's root")
            for image in ("/etc/passwd", "../secret.jpg", "cat/../../x.jpg", "cat/..", "a/./x.jpg", "cat\\1.jpg", "..")
        ),
        ("split", "training", "a split other than train, val, test"),
        ("split", "Test", "a split other than train, val, test"),
        ("role", "gallery", "a role other than train, query, index, both"),
        ("role", "train", "a role that does not fit its split"),
        ("split", "train", "a role that does not fit its split"),
    ],
)
def test_a_bad_field_is_refused_with_its_row(tmp_path: Path, column: str, value: str, what: str) -> None:
    assert f"has {what} in 1 row(s), the first in row 3" in refusal(file_of(tmp_path, with_cell(2, column, value)))


@pytest.mark.parametrize("image", ["..cat/1.jpg", "cat/1..jpg", "cat/...jpg", "~/1.jpg", "C:/1.jpg", "a b/🦊.jpg"])
def test_a_path_below_the_root_is_taken_whatever_its_characters(tmp_path: Path, image: str) -> None:
    assert image in read_manifest(file_of(tmp_path, with_cell(2, "image", image))).images("pets")


def test_the_number_of_bad_rows_is_told(tmp_path: Path) -> None:
    frame = FRAME.with_columns(pl.lit("dev").alias("split"))
    assert "in 4 row(s), the first in row 1 (image 'cat/1.jpg'" in refusal(file_of(tmp_path, frame))


def test_the_same_row_twice_is_refused(tmp_path: Path) -> None:
    frame = pl.concat([FRAME, FRAME[2:3].with_columns(pl.lit("index").alias("role"))])
    assert "the same image, label and split twice in 2 row(s), the first in row 3" in refusal(file_of(tmp_path, frame))


def test_an_image_may_have_several_labels() -> None:
    frame = pl.concat([FRAME, FRAME[2:3].with_columns(pl.lit("mammal").alias("label"))])
    assert len(Manifest(frame).images("pets")) == 4


def test_a_column_that_holds_no_strings_is_refused(tmp_path: Path) -> None:
    frame = FRAME.with_columns(pl.Series("label", [1, 1, 2, 2]))
    assert "column 'label' holds Int64, not strings" in refusal(file_of(tmp_path, frame, ".parquet"))
    numbers = read_manifest(file_of(tmp_path, frame, ".csv"))
    assert numbers.frame["label"].to_list() == ["1", "1", "2", "2"]


def test_labels_that_look_like_numbers_dates_or_nothing_stay_as_they_are_written(tmp_path: Path) -> None:
    labels = ["007", "1e3", "NA", "2024-01-01"]
    frame = FRAME.with_columns(pl.Series("label", labels))
    assert read_manifest(file_of(tmp_path, frame)).frame["label"].to_list() == labels


HEADER = ",".join(COLUMNS)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty CSV"),
        (HEADER.encode(), "has no rows"),
        (f"{HEADER}\na.jpg,s,l,d,test,both\nb.jpg,s,l,d,test,both,extra\n".encode(), "row 2 has more fields (7) than"),
        (f'{HEADER}\n"a.jpg,s,l,d,test,both\n'.encode(), "line 2 is malformed"),
        (f"{HEADER}\na.jpg,s,l,d,test\n".encode(), "has an empty field in 1 row(s), the first in row 1"),
        (f"{HEADER}\né.jpg,s,l,d,test,both\n".encode("latin-1"), "line 2 is invalid utf-8 (byte 0xe9)"),
    ],
    ids=["empty", "header only", "too many fields", "open quote", "too few fields", "latin-1"],
)
def test_a_malformed_csv_is_refused(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "manifest.csv").write_bytes(content)
    assert what in refusal(tmp_path / "manifest.csv")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace(HEADER, HEADER.replace(",", " , ")),
        lambda text: "".join(
            f"{number - 1 if number else ''},{line}\n" for number, line in enumerate(text.splitlines())
        ),
        lambda text: text + "\n\n",
        lambda text: text + ",,,,,\n" * 2,
        lambda text: text.replace("\ncat/", "\n./cat/"),
    ],
    ids=["semicolons", "tabs", "\\r", "blanks in the header", "pandas' index", "blank lines", "empty fields", "./"],
)
def test_a_csv_as_other_programs_save_it_has_the_same_rows(tmp_path: Path, change: Callable[[str], str]) -> None:
    plain = file_of(tmp_path, FRAME).read_text()
    (tmp_path / "theirs.csv").write_text(change(plain), newline="")
    assert change(plain) != plain
    assert read_manifest(tmp_path / "theirs.csv").frame.equals(FRAME)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04" + bytes(30), "it is a workbook, such as Excel's; save its sheet as CSV"),
        (f"{HEADER},label\na.jpg,s,l,d,test,both,m\n".encode(), "it has the column 'label' twice"),
        (f",{HEADER}\nx,a.jpg,s,l,d,test,both\n".encode(), "it has a column without a name"),
        (
            f"{HEADER}\na.jpg,s,l,d,test,both\n\nb.jpg,s,l,d,test,both\n".encode(),
            "an empty field in 1 row(s), the first in",
        ),
    ],
    ids=["workbook", "twice", "no name", "a blank line between"],
)
def test_a_csv_that_cannot_be_read_is_called_what_it_is(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "theirs.csv").write_bytes(content)
    assert what in refusal(tmp_path / "theirs.csv")


def test_a_file_that_is_no_parquet_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.parquet").write_bytes(b"junk")
    assert "cannot be read as a manifest" in refusal(tmp_path / "manifest.parquet")
    assert "cannot be read as a manifest" in refusal(tmp_path / "absent.csv")


def test_a_spreadsheets_byte_order_mark_and_line_ends_change_nothing(tmp_path: Path) -> None:
    plain = file_of(tmp_path, FRAME).read_text()
    (tmp_path / "excel.csv").write_bytes(plain.replace("\n", "\r\n").encode("utf-8-sig"))
    assert read_manifest(tmp_path / "excel.csv").frame.equals(FRAME)


def test_decomposed_image_names_are_composed_and_what_collides_is_refused() -> None:
    composed = "caf\u00e9/1.jpg"
    decomposed = unicodedata.normalize("NFD", composed)
    assert Manifest(with_cell(2, "image", decomposed)).frame["image"][2] == composed
    assert Manifest(with_cell(2, "image", decomposed)).digest == Manifest(with_cell(2, "image", composed)).digest
    twins = pl.concat([with_cell(2, "image", decomposed), with_cell(2, "image", composed)[2:3]])
    with pytest.raises(UsageError, match=r"two images that become one id, 'cafe\\u0301/1.jpg' and 'caf\\xe9/1.jpg'"):
        Manifest(twins)


@pytest.mark.parametrize("column", ["label", "domain"])
def test_decomposed_labels_and_domains_are_composed(column: str) -> None:
    composed = "Ch\u00e2teau d\u2019\u1ec8le"
    decomposed = unicodedata.normalize("NFD", composed)
    assert Manifest(with_cell(2, column, decomposed)).frame.equals(Manifest(with_cell(2, column, composed)).frame)


@pytest.mark.parametrize("padded", ["042 ", "\u00a0042", "042\u3000", "\t042", "042\u202f\n"])
@pytest.mark.parametrize("column", ["label", "domain"])
def test_a_label_or_domain_with_a_blank_at_an_end_is_refused_with_its_row(column: str, padded: str) -> None:
    with pytest.raises(UsageError, match=f"has a {column} with a blank at an end in 1 row.s., the first in row 3"):
        Manifest(with_cell(2, column, padded))


def test_the_labels_of_a_list_are_composed_and_may_not_have_blanks_at_their_ends() -> None:
    def with_list(*labels: str) -> Manifest:
        row = pl.DataFrame([("q.jpg", "s", list(labels), "d", "test", "query")], COLUMNS, orient="row")
        return Manifest(row)

    assert with_list("e\u0301", "f").frame["label"][0].to_list() == ["\u00e9", "f"]
    with pytest.raises(UsageError, match="a label with a blank at an end"):
        with_list("e", "f\u00a0")


@examples(20, 60)
@given(labels=st.lists(anything, min_size=4, max_size=4), domain=anything)
def test_csv_and_parquet_have_the_same_rows_and_digest(
    tmp_path_factory: pytest.TempPathFactory, labels: list[str], domain: str
) -> None:
    manifest = Manifest(FRAME.with_columns(pl.Series("label", labels), pl.lit(domain).alias("domain")))
    for path in written(tmp_path_factory.getbasetemp(), manifest):
        assert read_manifest(path).frame.equals(manifest.frame)
        assert read_manifest(path).digest == manifest.digest == digest_of_old(manifest.frame)


@pytest.mark.slow
@examples(20, 60)
@given(st.lists(st.lists(anything, min_size=1, max_size=3, unique=True), min_size=3, max_size=3))
def test_several_labels_come_back_from_csv_and_parquet(
    tmp_path_factory: pytest.TempPathFactory, labels: list[list[str]]
) -> None:
    manifest = queries(labels)
    assert manifest.has_several_labels == any(len(each) > 1 for each in labels)
    for path in written(tmp_path_factory.getbasetemp(), manifest):
        assert read_manifest(path).frame.equals(manifest.frame)
        assert read_manifest(path).digest == manifest.digest


def test_several_labels_are_a_json_array_in_csv(tmp_path: Path) -> None:
    queries([["a"], ["b", "c, d"], ["[e"]]).write(tmp_path / "manifest.csv")
    lines = (tmp_path / "manifest.csv").read_text().splitlines()
    assert [line.split(",s,")[1] for line in lines[1:]] == [
        "a,d,test,query",
        """"[""b"", ""c, d""]",d,test,query""",
        """"[""[e""]",d,test,query""",
    ]


@pytest.mark.parametrize("cell", ["[red]", "[1, 2]", '["a", 2]', "[", '["a"', '[["a"]]'])
def test_a_label_in_brackets_that_is_no_list_of_strings_is_refused_with_row_and_remedy(
    tmp_path: Path, cell: str
) -> None:
    said = refusal(file_of(tmp_path, with_cell(2, "label", cell)))
    assert f"the label {cell} in row 3 begins with '[' and is no JSON array of strings" in said
    assert json.dumps([cell]) in said
    remedied = with_cell(2, "label", json.dumps([cell]))
    assert read_manifest(file_of(tmp_path, remedied)).frame["label"][2] == cell


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        ([["a", "b"], []], "an empty field in 1 row(s), the first in row 2"),
        ([["a", "b"], None], "an empty field in 1 row(s), the first in row 2"),
        ([["a", "b"], ["c", ""]], "an empty field in 1 row(s), the first in row 2"),
        ([["a", "b"], ["c", None]], "an empty field in 1 row(s), the first in row 2"),
        ([[], []], "an empty field in 2 row(s), the first in row 1"),
        ([["a", "b"], ["c", "c"]], "a label twice in one list in 1 row(s), the first in row 2"),
    ],
)
def test_a_bad_list_of_labels_is_refused_with_its_row(labels: list, what: str) -> None:
    with pytest.raises(UsageError, match=re.escape(what)):
        queries(labels)


@pytest.mark.parametrize(("split", "role"), [("train", "train"), ("test", "index"), ("test", "both")])
def test_only_queries_have_several_labels(split: str, role: str) -> None:
    frame = queries([["a", "b"], ["c"]]).frame.with_columns(split=pl.lit(split), role=pl.lit(role))
    with pytest.raises(UsageError, match="several labels for an image that is not a query only in 1 row"):
        Manifest(frame)


def test_lists_of_one_label_each_are_the_same_manifest_as_strings() -> None:
    lists = Manifest(FRAME.with_columns(pl.concat_list("label")))
    assert lists.frame.equals(FRAME)
    assert lists.digest == Manifest(FRAME).digest


def test_a_split_without_several_labels_has_strings() -> None:
    both = pl.concat([queries([["a", "b"]]).frame, FRAME.with_columns(pl.concat_list("label"))])
    manifest = Manifest(both)
    assert manifest.has_several_labels
    assert manifest.split("train").schema["label"] == pl.String
    assert manifest.split("test").schema["label"] == pl.List(pl.String)


def test_the_digest_tells_a_list_from_its_text_and_its_parts() -> None:
    def digest(*labels: list[str]) -> str:
        return queries([*labels, ["x", "y"]]).digest

    texts = [digest(["a", "b"], ["c"]), digest(["a"], ["b", "c"]), digest(["ab"], ["c"]), digest(['["a", "b"]'], ["c"])]
    assert len(set(texts)) == 4
    assert queries([["a", "b"]]).digest != queries([['["a", "b"]']]).digest


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_writing_replaces_nothing_unless_told(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"manifest{suffix}"
    Manifest(FRAME).write(path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=re.escape(f"{path} exists already")):
        Manifest(FRAME[:2]).write(path)
    assert path.read_bytes() == before
    Manifest(FRAME[:2]).write(path, overwrite=True)
    assert read_manifest(path).frame.equals(FRAME[:2])
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "manifest.parquet"
    Manifest(FRAME).write(path)

    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", fail)
    with pytest.raises(OSError, match="No space"):
        Manifest(FRAME[:2]).write(path, overwrite=True)
    assert read_manifest(path).frame.equals(FRAME)
    assert list(tmp_path.iterdir()) == [path]


def test_another_suffix_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a manifest is a \.csv or \.parquet file"):
        Manifest(FRAME).write(tmp_path / "manifest.json")


def test_selected_rows_are_a_manifest_of_their_own() -> None:
    whole = Manifest(with_cell(3, "source", "zoo"), {"pets": Path("/pets"), "zoo": Path("/zoo")}, "pets.csv")
    digest = whole.digest
    part = whole.where_rows(pl.col("split") == "test")
    assert part.frame.rows() == whole.frame.rows()[2:]
    assert part.digest == Manifest(whole.frame[2:]).digest != digest
    assert whole.where_rows(pl.col("source") == "zoo").roots == {"zoo": Path("/zoo")}
    with pytest.raises(UsageError, match=re.escape("nothing is left of pets.csv")):
        whole.where_rows(pl.lit(False))


OTHER = {"image": "x.jpg", "source": "zoo", "label": "cow", "domain": "farm", "split": "val", "role": "both"}


@pytest.mark.parametrize("column", COLUMNS)
def test_the_digest_changes_with_any_cell(column: str) -> None:
    assert Manifest(with_cell(3, column, OTHER[column])).digest != Manifest(FRAME).digest


def test_the_digest_changes_with_the_order_of_the_rows_and_not_of_the_columns() -> None:
    assert Manifest(FRAME.reverse()).digest != Manifest(FRAME).digest
    assert Manifest(FRAME.select(reversed(COLUMNS))).digest == Manifest(FRAME).digest


@pytest.mark.parametrize("character", ["\x1f", "\n", ",", " ", "\0"])
def test_the_digest_tells_where_one_field_ends_and_the_next_begins(character: str) -> None:
    def digest(label: str, domain: str) -> str:
        try:
            return Manifest(FRAME[2:3].with_columns(label=pl.lit(label), domain=pl.lit(domain))).digest
        except UsageError:
            return f"{label} is refused"

    assert digest(f"a{character}b", "c") != digest("a", f"b{character}c")


def test_several_sources_lie_in_folders_of_their_names_unless_told_otherwise(tmp_path: Path) -> None:
    path = file_of(tmp_path, with_cell(2, "source", "zoo"))
    assert read_manifest(path).roots == {"pets": tmp_path / "pets", "zoo": tmp_path / "zoo"}
    elsewhere = read_manifest(path, {"zoo": Path("/data/zoo")})
    assert elsewhere.roots == {"pets": tmp_path / "pets", "zoo": Path("/data/zoo")}


@pytest.mark.parametrize("source", ["../../etc", "/etc", "a/../../b", ".."])
def test_a_source_name_does_not_lead_out_of_the_manifests_folder(tmp_path: Path, source: str) -> None:
    path = file_of(tmp_path, with_cell(2, "source", source))
    try:
        root = read_manifest(path).roots[source]
    except UsageError:
        return
    assert root.resolve().is_relative_to(tmp_path)


def test_a_root_for_a_source_that_is_not_there_is_refused_with_the_nearest(tmp_path: Path) -> None:
    path = file_of(tmp_path, FRAME)
    with pytest.raises(UsageError, match=re.escape(f"{path} has no source 'pet'; did you mean 'pets'?")):
        read_manifest(path, {"pet": tmp_path})


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_path_with_brackets_and_stars_is_a_path_and_no_pattern(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mine [v2]*.{suffix}"
    manifest = Manifest(FRAME)
    manifest.write(path)
    assert read_manifest(path).digest == manifest.digest
