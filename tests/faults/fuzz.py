"""Files that nobody damaged but somebody made: valid containers of odd content, for every reader of files of others'.

A reader returns, or raises probe's error; nothing else, in bounded time and memory. Where a format has a structure, a
sound document has a part of it replaced, so that what is behind the first check is reached too.

    for case in fuzz("recipe", world, folder, seed=0, cases=range(100)):
        case.outcome                  # "read", "refused"
"""

import io
import json
import multiprocessing
import pickle
import re
import tarfile
import traceback
from collections.abc import Callable, Iterator
from copy import deepcopy
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.data.published import PUBLISHED
from tests.faults.damage import Case, end_group, limit_memory, set_apart
from tests.faults.formats import FORMATS
from tests.faults.process import FORK, TRACEBACK, in_time
from tests.faults.world import CATALOGUE, CURATION, DATASETS, DIM, RECIPE, World, annotation_files

OUTCOMES = ("read", "refused", "traceback", "hang", "crash")
BAD = OUTCOMES[2:]
SEEDS = 1_000_000  # more than there are inputs of one seed
Bytes = st.SearchStrategy[bytes]

ATOMS = ("", "a", "/", "..", "\n", "\r", "\0", '"', "'", ",", ";", "\t", " ", "[", "{", "*", "&a", "<<", "!!", "|")
ATOMS += (
    "\ufeff",
    "e\u0301",
    "\u2028",
    "\x85",
    "\x1b[31m",
    "=1+1",
    "農",
    "\U0001f600",
    "NaN",
    "1e999",
    "-0",
    "~",
    "yes",
)
texts = st.lists(st.sampled_from(ATOMS), max_size=4).map("".join) | st.text(max_size=20)
numbers = st.integers(-3, 3) | st.integers() | st.floats() | st.sampled_from((2**31, 2**62, 2**64, -(2**63), 10**30))


def trees(keys: st.SearchStrategy[Any], leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Lists and dictionaries."""
    return st.recursive(
        leaves,
        lambda below: st.lists(below, max_size=4) | st.dictionaries(keys, below, max_size=4),
        max_leaves=12,
    )


def grafted(document: Any, keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The document, with one to three of its parts replaced by other trees."""
    places = list(_places(document))
    leaves = st.none() | st.booleans() | numbers | texts | keys

    def with_others(changes: list[tuple[tuple[Any, ...], Any]]) -> Any:
        found = [deepcopy(document)]
        for place, tree in changes:
            inside: Any = found
            try:
                for key in place[:-1]:
                    inside = inside[key]
                inside[place[-1]] = tree
            except (LookupError, TypeError):  # what an earlier change has replaced
                continue
        return found[0]

    change = st.tuples(st.sampled_from(places), trees(keys, leaves))
    return st.lists(change, min_size=1, max_size=3).map(with_others)


def _places(tree: Any, above: tuple[Any, ...] = (0,)) -> Iterator[tuple[Any, ...]]:
    yield above
    below = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in below:
        yield from _places(value, (*above, key))
        yield (*above[:-1], above[-1], "another") if isinstance(tree, dict) else above


def yamls(text: str) -> Bytes:
    words = st.sampled_from(sorted(set(re.findall(r"[\w.-]+", text)))) | texts
    dumped = grafted(yaml.safe_load(text), words).map(lambda tree: yaml.safe_dump(tree, allow_unicode=True).encode())
    return dumped | texts.map(lambda piece: (text + piece).encode(errors="replace")) | st.binary(max_size=100)


def jsons(document: Any) -> Bytes:
    words = st.sampled_from(sorted(set(re.findall(r"[\w.-]+", json.dumps(document)[:5_000])))) | texts
    return grafted(document, words).map(lambda tree: json.dumps(tree).encode()) | st.binary(max_size=100)


def tables(header: str, row: str) -> Bytes:
    """CSV: cells, separators and quotes in any order below a header that may be right."""
    cells = st.lists(st.sampled_from((*row.split(","), *ATOMS)) | texts, max_size=8).map(",".join)
    lines = st.lists(cells | st.just(row), max_size=6)
    return st.tuples(st.just(header) | cells, lines, st.sampled_from(("\n", "\r\n", "\r", "\n\n"))).map(
        lambda parts: parts[2].join([parts[0], *parts[1], ""]).encode(errors="surrogatepass")
    )


KINDS = (pl.String, pl.Int64, pl.Float32, pl.Float64, pl.Boolean, pl.Binary, pl.Date, pl.Null, pl.UInt8)
KINDS += (pl.List(pl.String), pl.List(pl.Float32), pl.Array(pl.Float32, DIM), pl.Struct({"a": pl.Int8}), pl.Categorical)


def frames(names: tuple[str, ...]) -> Bytes:
    """Parquet of columns of any type, often empty or of nothing; the names are those that a reader looks for."""

    def written(columns: list[tuple[str, Any, str]], rows: int) -> bytes:
        made = {name: _cells(kind, text, rows) for name, kind, text in columns}
        file = io.BytesIO()
        pl.DataFrame(list(made.values()), schema=list(made)).write_parquet(file)
        return file.getvalue()

    kinds = st.just(pl.String) | st.sampled_from(KINDS)
    columns = st.tuples(*(st.tuples(st.just(name), kinds, texts) for name in names))
    some = st.tuples(columns, st.integers(0, len(names))).map(lambda drawn: list(drawn[0][: drawn[1] or None]))
    return st.builds(written, some, st.integers(0, 5))


def _cells(kind: Any, text: str, rows: int) -> pl.Series:
    values: dict[Any, Any] = {
        pl.String: text,
        pl.Binary: text.encode(errors="replace"),
        pl.Boolean: True,
        pl.Categorical: text,
        pl.List(pl.String): [text],
        pl.List(pl.Float32): [1.0] * (len(text) % 8),
        pl.Array(pl.Float32, DIM): [float("nan")] * DIM,
        pl.Struct({"a": pl.Int8}): {"a": 1},
    }
    value = values.get(kind, 1 if kind in (pl.Int64, pl.UInt8, pl.Float32, pl.Float64) else None)
    return pl.Series([None if row == len(text) else value for row in range(rows)], dtype=kind)


TYPES = ("f2", "f4", "f8", "i1", "i8", "u8", "?", "c8", "S3", "U2", "M8[s]", "V5", "i4,f4")
shapes = st.lists(st.integers(0, 4) | st.just(DIM), max_size=3).map(tuple)
arrays = st.builds(lambda kind, shape: np.zeros(shape, kind), st.sampled_from(TYPES), shapes)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(embeddings: np.ndarray, ids: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, embeddings=embeddings, ids=ids)
    return file.getvalue()


headers = grafted({"descr": "<f4", "fortran_order": False, "shape": [32, DIM]}, texts).map(
    lambda tree: b"\x93NUMPY\x01\x00\x76\x00" + repr(tree).encode(errors="replace")[:117].ljust(117) + b"\n" + bytes(99)
)


def hdf5(names: tuple[str, ...], attributes: tuple[str, ...]) -> Bytes:
    def written(columns: list[np.ndarray], about: list[Any], chunked: bool) -> bytes:
        file = io.BytesIO()
        with h5py.File(file, "w") as made:
            for name, column in zip(names, columns, strict=False):
                if column.dtype.kind in "UM":
                    made.create_dataset(name, data=["a"] * column.size, dtype=h5py.string_dtype())
                else:
                    made.create_dataset(
                        name, data=column, chunks=True if chunked and column.size and column.ndim else None
                    )
            for name, value in zip(attributes, about, strict=False):
                made.attrs[name] = value
        return file.getvalue()

    words = texts.map(lambda text: text.replace("\0", "").encode(errors="replace") or b"a")  # HDF5 ends texts at 0
    scalars = st.integers(-(2**63), 2**63 - 1) | st.floats() | words
    known = st.sampled_from((b"feature_cache", b"{}", b"[]", b"null", b'{"model": 1}', 1, 2, 3, True))
    return st.builds(
        written,
        st.lists(arrays, max_size=len(names)),
        st.lists(known | scalars, max_size=len(attributes)),
        st.booleans(),
    )


def saved(tree: Any) -> bytes:
    file = io.BytesIO()
    torch.save(tree, file)
    return file.getvalue()


tensors = st.builds(
    lambda kind, shape: torch.zeros(shape, dtype=kind),
    st.sampled_from((torch.float32, torch.float16, torch.int64, torch.bool, torch.complex64, torch.bfloat16)),
    shapes,
)
keys = st.sampled_from(("state_dict", "model", "module.weight", "weight", "bias", "epoch", "")) | texts | st.integers()
states = trees(keys, tensors | numbers | texts | st.none())


def safetensors(header: Any, length: int | None, content: bytes) -> bytes:
    text = json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + content


tensor_headers = grafted(
    {"weight": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}, "__metadata__": {"format": "pt"}},
    st.sampled_from(("weight", "dtype", "shape", "F32", "I64", "BF16", "F8_E4M3")) | texts,
)


def packed(members: list[tuple[str, bytes, int, int]], end: int, form: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as made:
        for name, content, kind, size in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = bytes([kind]), size if size >= 0 else len(content), name
            made.addfile(member, None)
            if kind in b"07\0":
                made.fileobj.write(content + bytes(-len(content) % 512))  # type: ignore[union-attr]
                made.offset += len(content) + -len(content) % 512
    found = file.getvalue()
    return found[: len(found) - end] if end else found


member = st.tuples(
    (st.text(max_size=120) | texts).filter(lambda name: "\0" not in name),
    st.binary(max_size=600),
    st.sampled_from(b"0000\x00123456789LKxgSVMDX"),
    st.just(-1) | st.integers(0, 2**32),
)
tars = st.builds(packed, st.lists(member, max_size=5), st.integers(0, 3_000), st.sampled_from((0, 1, 2)))

ROW = "train0/0.png,photos,train0,things,train,train"
COLUMNS = ("image", "source", "label", "domain", "split", "role")
IDS = ("image", "vector", "id", "source", "embedding")
DOCUMENTS = {
    kind: json.loads(str(PUBLISHED[name].files[file]))
    for kind, (name, file) in annotation_files().items()
    if file.endswith(".json")
}
INPUTS: dict[str, Bytes] = {
    "manifest, csv": tables(",".join(COLUMNS), ROW),
    "manifest, parquet": frames(COLUMNS),
    "features, parquet": frames(IDS),
    "features, npy": arrays.map(npy) | headers,
    "features, hdf5": hdf5(("features", "index", "other"), ("format",)),
    "ids, txt": st.lists(texts).map(lambda lines: "\n".join(lines).encode(errors="surrogatepass")) | st.binary(),
    "ids, json": jsons(["train0/0.png", "train0/1.png", "val0/0.png"]),
    "embeddings, npz": st.builds(npz, arrays, arrays),
    "embeddings, npy": arrays.map(npy) | headers,
    "weights, pt": states.map(saved) | states.map(pickle.dumps) | st.binary(max_size=100).map(b"PK\x03\x04".__add__),
    "weights, safetensors": st.builds(
        safetensors, tensor_headers, st.none() | st.integers(0, 2**64 - 1), st.just(bytes(48)) | st.binary(max_size=60)
    ),
    "store": hdf5(
        ("features", "id", "size", "content", "failed", "digests"),
        ("format", "version", "spec", "fingerprint", "complete", "count", "seal"),
    ),
    "tar": tars,
    "recipe": yamls(RECIPE),
    "curation": yamls(CURATION),
    "data sets": yamls(DATASETS),
    "catalogue": yamls(CATALOGUE),
    "annotations, delimited": tables("img_path,label", "products-10k/train/17.jpg,0"),
    **{f"annotations, {kind}": jsons(document) for kind, document in DOCUMENTS.items()},
}


def outcome(name: str, content: bytes) -> tuple[str, str]:
    """Of reading this content in the place of a file; and what was said."""
    next(iter(sorted(Path().glob(FORMATS[name].file)))).write_bytes(content)
    try:
        found = FORMATS[name].read()
    except BaseException:
        return "traceback", traceback.format_exc()
    if TRACEBACK.search(found.text):
        return "traceback", found.text
    if found.code and not found.text.strip():
        return "traceback", "it is refused without a word"
    return ("refused" if found.code else "read"), found.text


def drawn(name: str, number: int, inputs: int, check: Callable[[bytes], None]) -> None:
    """Calls `check` with that many inputs; the same ones for the same seed."""

    @seed(number)
    @settings(
        max_examples=inputs,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    @given(INPUTS[name])
    def each(content: bytes) -> None:
        check(content)

    each()


def fuzz(name: str, world: World, folder: Path, number: int, cases: range) -> Iterator[Case]:
    """The cases of one format, in turn, of a seed of their own for each start. One that crashes or hangs ends them."""
    world.copy(FORMATS[name].step, folder)
    ours, theirs = multiprocessing.Pipe()
    process = FORK.Process(target=_read_all, args=(name, folder, number * SEEDS + cases.start, len(cases), theirs))
    process.start()
    theirs.close()
    count, problem = cases.start, "hang"
    try:
        while in_time(ours.poll, process.pid or 0):
            found = ours.recv()
            if found is None:
                problem = ""
                break
            yield Case(f"fuzz: {name}", count, *found)
            count += 1
    except EOFError:
        problem = "crash"
    end_group(process.pid)
    process.join()
    if problem:
        last = next(iter(sorted(folder.glob(FORMATS[name].file))))
        said = f"exit code {process.exitcode}: {last.read_bytes()[:2000]!r}"
        yield Case(f"fuzz: {name}", count, problem, said)


def _read_all(name: str, home: Path, number: int, inputs: int, pipe: Connection) -> None:
    set_apart(home)
    limit_memory()
    drawn(name, number, inputs, lambda content: pipe.send(outcome(name, content)))
    pipe.send(None)
