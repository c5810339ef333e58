"""Manifests as spreadsheets, other systems and odd names leave them: they come back as they were, or are refused with
what to do."""

import unicodedata
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probe.data.manifest import COLUMNS, Manifest, read_manifest
from probe.errors import UsageError
from tests.conftest import examples

HEADER = "image,source,label,domain,split,role\n"
ROW = "a.jpg,s,1,d,train,train\n"
ATOMS = [
    "a",
    "\n",
    "\r",
    "\r\n",
    '"',
    '""',
    ",",
    "\t",
    " ",
    "[",
    "]",
    '["x"]',
    '[""]',
    "NA",
    "null",
    "007",
    "1e5",
    "-0",
]
ATOMS += ["\ufeff", "é", "e\u0301", "\u2028", "\x85", "\x1a", "\x00", "'", "#", "=1+1", "農夫", "\U0001f600", "\ud7ff"]
text = st.lists(st.sampled_from(ATOMS), min_size=1, max_size=4).map("".join)
name = text.map(lambda drawn: unicodedata.normalize("NFC", drawn.strip() or "x"))


@settings(examples(30, 100), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(text, text, st.lists(name, min_size=1, max_size=3, unique=True), name), min_size=1, max_size=4
    )
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_hostile_names_and_labels_come_back_to_the_byte(
    tmp_path: Path, suffix: str, rows: list[tuple[str, str, list[str], str]]
) -> None:
    cells = [(f"{n}{image}", *rest, "test", "query") for n, (image, *rest) in enumerate(rows)]
    manifest = Manifest(pl.DataFrame(cells, COLUMNS, orient="row"))
    path = tmp_path / f"manifest{suffix}"
    manifest.write(path, overwrite=True)
    found = read_manifest(path)
    assert found.frame.equals(manifest.frame)
    assert found.digest == manifest.digest


def refusal(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "manifest.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError) as error:
        read_manifest(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("label", ["1", "é"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_another_encoding_is_told_as_such(tmp_path: Path, encoding: str, label: str) -> None:
    assert "UTF-8" in refusal(tmp_path, (HEADER + ROW.replace("1", label)).encode(encoding))


def test_a_quote_inside_a_bare_field_is_told_with_its_line(tmp_path: Path) -> None:
    assert "line 2" in refusal(tmp_path, (HEADER + 'a"b.jpg,s,1,d,train,train\n').encode())


def test_the_value_that_is_refused_is_shown(tmp_path: Path) -> None:
    assert "'Train'" in refusal(tmp_path, (HEADER + ROW.replace("train\n", "Train\n")).encode())
