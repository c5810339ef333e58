"""UnED's JSON of descriptors, as its public code writes and reads it; the format is in docs/evaluation.md.

A file of descriptors names no images: their order is that of UnED's info files, which are read for the ids. Only the
splits that are scored are kept, a vector at a time, so that memory holds them and not the text. The scanner is our own,
since `ijson` refuses the NaN and Infinity that Python's json writes, where the error here names their image.

    ids, vectors = read_descriptors(Path("descriptors.json"), Path("info_files"), "test")
"""

import json
import mmap
import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np

from probe.data import ReaderConfig, all_datasets, read_json
from probe.errors import UsageError, first_line

SPACE = re.compile(rb"[ \t\r\n]*")
TEXT = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\.)*"')
OPENED = re.compile(rb"\[[ \t\r\n]*" * 2 + rb"(\[)?")


def read_descriptors(path: Path, info_files: Path | None, split: str) -> tuple[list[str], np.ndarray]:
    """Ids (N) and vectors (N, D) float32 of a file for `descr_eval.py`, or of one by `extract_dir_descriptors.py`.

    `info_files`: UnED's folder of `<data set>/<split>.json`, for the first kind. `split`: what is scored. Raises
    UsageError for what has neither form, naming the place.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            scanner = _Scanner(path, text)
            read = _of_folder if scanner.is_flat else _of_datasets
            ids, vectors = read(scanner, info_files, split)
            scanner.end()
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise UsageError(f"{path} cannot be read as JSON of descriptors: {first_line(error)}.") from error
    if not ids:
        raise UsageError(f"{path} holds no descriptors of the {split} split.")
    return ids, vectors


def _of_folder(scanner: "_Scanner", info_files: Path | None, _split: str) -> tuple[list[str], np.ndarray]:
    """`{"descriptors": [[...], ...], "paths": ["...", ...]}`, whatever the split: the ids tell."""
    ids: list[str] = []
    vectors = np.empty((0, 0), np.float32)
    for key in scanner.entries():
        if key not in ("descriptors", "paths"):
            scanner.fail(f"the key '{key}' is neither 'descriptors' nor 'paths'")
        if info_files is not None:
            raise UsageError(f"{scanner.path} has its ids in it, its 'paths', so leave --ids out.")
        if key == "descriptors":
            vectors = scanner.matrix("descriptors")
        else:
            ids = list(scanner.texts())
    if len(ids) != len(vectors):
        raise UsageError(
            f"{scanner.path} has {len(vectors):,} descriptors and {len(ids):,} paths; they must be as many."
        )
    return ids, vectors


def _of_datasets(scanner: "_Scanner", info_files: Path | None, split: str) -> tuple[list[str], np.ndarray]:
    """`{"cars": {"test": [[[...], ...]]}, ...}`, its rows in the order of `<info_files>/cars/test.json`."""
    if info_files is None or not info_files.is_dir():
        raise UsageError(
            f"{scanner.path} holds descriptors by data set and split, without ids: give UnED's folder of info files, "
            "whose order is theirs, with --ids."
        )
    ids: list[str] = []
    parts: list[np.ndarray] = []
    for name in scanner.entries():
        for part in scanner.entries():
            table = _table(f"{name}/{part}.json")
            if table is not None and split not in table.splits:
                scanner.skip_matrix()
                continue
            images = _images(info_files / name / f"{part}.json", table)
            vectors = scanner.matrix(f"{name}/{part}")
            if len(vectors) != len(images):
                raise UsageError(
                    f"{scanner.path}: {name}/{part} has {len(vectors):,} descriptors and its info file "
                    f"{len(images):,} images; they must be as many."
                )
            if parts and vectors.shape[1] != parts[0].shape[1]:
                raise UsageError(
                    f"{scanner.path}: {name}/{part} has {vectors.shape[1]} dimensions and what is before it "
                    f"{parts[0].shape[1]}; they are not of one model."
                )
            ids += images
            parts.append(vectors)
    return ids, np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


def _table(file: str) -> ReaderConfig | None:
    """How the catalogue reads one of UnED's info files."""
    tables = (table for dataset in all_datasets() if dataset.name.startswith("uned-") for table in dataset.row.tables)
    return next((table for table in tables if file in table.file), None)


def _images(path: Path, table: ReaderConfig | None) -> list[str]:
    """`source/image` of the records of an info file; the path as it is written where the catalogue does not know it."""
    records = read_json(path)
    if not isinstance(records, list) or not all(
        isinstance(record, dict) and isinstance(record.get("path"), str) for record in records
    ):
        raise UsageError(f"{path} is not one of UnED's info files: a JSON list of objects with a 'path'.")
    places = sorted(table.places, key=lambda place: -len(place.prefix)) if table else []

    def placed(image: str) -> str:
        for place in places:
            if image.startswith(place.prefix):
                return f"{place.source}/{place.id}{image.removeprefix(place.prefix)}"
        return image

    return [placed(record["path"]) for record in records]


class _Scanner:
    """A place in a JSON text that is mapped, not loaded. Every method ends behind what it has read."""

    def __init__(self, path: Path, text: mmap.mmap) -> None:
        self.path, self._text, self._at = path, text, 0

    @property
    def is_flat(self) -> bool:
        """Whether the first value of the object is a list."""
        if next(self.entries(), None) is None:
            self.fail("the object is empty")
        found, self._at = self._next(), 0
        return found == b"["

    def entries(self) -> Iterator[str]:
        """The keys of an object; its values are the caller's to read."""
        self._take(b"{")
        if self._next() == b"}":
            self._at += 1
            return
        seen: set[str] = set()
        while True:
            key = self._string()
            if key in seen:
                self.fail(f"the key '{key}' occurs twice")
            seen.add(key)
            self._take(b":")
            yield key
            if self._closes(b"}"):
                return

    def texts(self) -> Iterator[str]:
        """A list of texts."""
        self._take(b"[")
        if self._next() == b"]":
            self._at += 1
            return
        while True:
            yield self._string()
            if self._closes(b"]"):
                return

    def matrix(self, what: str) -> np.ndarray:
        """(N, D) float32: a list of vectors, or a list of one such list, as the code writes it."""
        values, rows, dim = array("f"), 0, 0
        for numbers in self._vectors():
            before = len(values)
            try:
                values.extend(json.loads(numbers))
            except (ValueError, TypeError, OverflowError) as error:
                self.fail(f"row {rows + 1:,} of {what} is no list of numbers ({first_line(error)})")
            dim = dim or len(values)
            rows += 1
            if len(values) - before != dim or not dim:
                self.fail(f"row {rows:,} of {what} has {len(values) - before} numbers, the first row {dim}")
        return np.frombuffer(values, np.float32).reshape(rows, dim)

    def skip_matrix(self) -> None:
        for _ in self._vectors():
            pass

    def end(self) -> None:
        if self._next():
            self.fail("the text goes on")

    def fail(self, what: str) -> NoReturn:
        raise UsageError(f"{self.path} is not JSON of descriptors: at byte {self._at:,} {what}.")

    def _vectors(self) -> Iterator[bytes]:
        """The text of each row, `[1.0, ...]`."""
        self._next()
        found = OPENED.match(self._text, self._at)
        if found is None:
            self.fail("a list of vectors should begin")
        is_wrapped = found[1] is not None
        self._at = found.end()
        while True:
            end = self._text.find(b"]", self._at)
            if end < 0:
                self.fail("a vector begins that does not end")
            numbers, self._at = self._text[self._at : end], end + 1
            yield b"[" + numbers + b"]"
            if self._closes(b"]"):
                break
            self._take(b"[")
        if is_wrapped:
            self._take(b"]")

    def _string(self) -> str:
        self._next()
        found = TEXT.match(self._text, self._at)
        if found is None:
            self.fail("a text in quotes should begin")
        self._at = found.end()
        return str(json.loads(found[0]))

    def _closes(self, bracket: bytes) -> bool:
        """Whether the list or object ends here; else a comma is taken."""
        if self._next() == bracket:
            self._at += 1
            return True
        self._take(b",")
        return False

    def _take(self, byte: bytes) -> None:
        if self._next() != byte:
            self.fail(f"'{byte.decode()}' should be")
        self._at += 1

    def _next(self) -> bytes:
        """The next byte that is no space; nothing at the end."""
        found = SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._text[self._at : self._at + 1]
