"""Single instances of what damage and kills once found, each a kind that stays mended."""

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
import torch

from feature_cache import (
    Failure,
    FeatureStore,
    Rows,
    StoreError,
    StoreWriter,
    describe,
    export_npy,
    find_stores,
    read_foreign,
    read_parquet,
)
from probe.backbones.checkpoint import fit, read_state
from probe.data.decoding import decode
from probe.data.images import read_image
from probe.data.manifest import read_manifest
from probe.errors import ProbeError, system_sentence
from probe.fit import Candidate
from probe.runs.checkpoint import CANDIDATES, RunCheckpoint

NOBODY = 65534


def write(path: Path, ids: list[str], failed: list[str] | None = None) -> Path:
    with StoreWriter(path, {"m": 1}) as writer:
        rows = Rows(ids, np.ones((len(ids), 4)), np.ones((len(ids), 2), np.int32), np.arange(1, len(ids) + 1))
        writer.add(rows, [Failure(image, "broken") for image in failed or []])
        writer.finish()
    return path


@contextmanager
def without_rights(path: Path) -> Iterator[None]:
    """Root may read everything; whoever runs the tests as root is somebody else here."""
    path.chmod(0)
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(mine)
        path.chmod(0o700)


def test_a_store_that_may_not_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", ["a"])
    with without_rights(path), pytest.raises((StoreError, OSError)) as error:
        FeatureStore(path)
    assert "ermission denied" in str(error.value)
    assert "damaged" not in str(error.value)
    assert "delete" not in str(error.value)


def test_a_folder_that_may_not_be_looked_into_is_not_called_empty(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    with without_rights(tmp_path / "closed"), pytest.raises(StoreError, match="cannot be looked into"):
        find_stores(tmp_path / "closed")


def test_a_flipped_bit_in_the_failures_of_one_store_does_not_hide_the_others(tmp_path: Path) -> None:
    write(tmp_path / "a" / "whole.h5", ["a"])
    hurt = write(tmp_path / "b" / "hurt.h5", ["a"], failed=["b"])
    with h5py.File(hurt) as file:
        at = file["failed"].id.get_chunk_info(0).byte_offset  # type: ignore[union-attr]
    content = bytearray(hurt.read_bytes())
    content[at] ^= 1
    hurt.write_bytes(content)
    found = [describe(path) for path in find_stores(tmp_path)]
    assert [each.path.name for each in found] == ["whole.h5", "hurt.h5"]


def test_a_store_whose_spec_is_a_list_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", ["a"])
    with h5py.File(path, "r+") as file:
        file.attrs["spec"] = "[1]"
    with pytest.raises(StoreError, match=r"s\.h5"):
        FeatureStore(path).load()


def test_an_image_that_was_mended_survives_a_kill_before_the_merge(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", ["a"], failed=["b"])
    process = os.fork()
    if process == 0:
        writer = StoreWriter(path, {"m": 1}).__enter__()
        writer.add(Rows(["b"], np.full((1, 4), 2.0), np.ones((1, 2), np.int32), np.array([9])))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(process, 0)
    with StoreWriter.resume(path) as writer:
        writer.finish()
    store = FeatureStore(path)
    assert (sorted(store.ids), len(store.failed)) == (["a", "b"], 0)
    assert (store.load(["b"]) == 2).all()


def test_an_export_that_was_killed_between_its_two_files_is_made_by_the_same_call(tmp_path: Path) -> None:
    store = FeatureStore(write(tmp_path / "s.h5", ["a", "b"]))
    process = os.fork()
    if process == 0:
        rename = Path.replace

        def renamed_and_killed(path: Path, target: Path) -> Path:
            rename(path, target)
            os.kill(os.getpid(), signal.SIGKILL)
            return target

        Path.replace = renamed_and_killed  # type: ignore[method-assign, assignment]
        export_npy(store, tmp_path / "e.npy")
    os.waitpid(process, 0)
    export_npy(store, tmp_path / "e.npy")
    assert (np.load(tmp_path / "e.npy") == 1).all()
    assert (tmp_path / "e.ids.txt").read_text() == "a\nb\n"


def test_weights_that_hold_themselves_are_refused(tmp_path: Path) -> None:
    state: dict[str, object] = {"weight": torch.ones(2)}
    state["model"] = state
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ProbeError, match=r"w\.pt"):
        read_state(tmp_path / "w.pt")


def test_whole_numbers_are_not_taken_for_weights_without_a_word(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2, 2, dtype=torch.int8), "bias": torch.ones(2)}, tmp_path / "w.pt")
    with pytest.raises(ProbeError, match=r"w\.pt holds quantised weights, .* \(weight is torch\.int8"):
        fit(torch.nn.Linear(2, 2), read_state(tmp_path / "w.pt"), tmp_path / "w.pt")


def test_columns_whose_names_differ_by_blanks_are_one_that_is_there_twice(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("image,label, label\na.jpg,1,2\n")
    with pytest.raises(ProbeError, match="column 'label' twice"):
        read_manifest(tmp_path / "m.csv")


PIPES = """
import os, sys
from pathlib import Path
from feature_cache import StoreError, read_foreign, read_parquet
from probe.data.images import read_image
from probe.backbones.checkpoint import fit, read_state
for name, read in {
    "p.npy": lambda path: read_foreign(path, ids="ids.txt"),
    "p.parquet": lambda path: read_parquet(Path(path)),
    "p.hdf5": read_foreign,
    "p.jpg": lambda path: read_image(Path(), path),
}.items():
    os.mkfifo(name)
    try:
        read(name)
    except Exception as error:
        print("regular file" in str(error), flush=True)
"""


@pytest.mark.slow
def test_no_reader_waits_for_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("a\n")
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PIPES],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["True"] * 4, done.stderr


def test_a_parquet_file_of_more_equal_rows_than_bytes_is_refused_before_they_are_made(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    pl.select(pl.repeat("a.jpg", 2_000_000).alias("image")).write_parquet(path)
    assert path.stat().st_size < 500_000
    with pytest.raises(StoreError, match="claims 2,000,000 rows"):
        read_parquet(path)


def test_scores_of_candidates_without_a_digest_are_not_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = RunCheckpoint(tmp_path, "key")
    checkpoint.write_candidates("cpu", [Candidate(name="PCA", folds=[0.5])])
    assert checkpoint.candidates("cpu")[0].folds == [0.5]
    file = tmp_path / CANDIDATES
    file.write_text(re.sub(r'"digest":"\w+"', '"digest":""', file.read_text().replace("0.5", "0.9")))
    assert checkpoint.candidates("cpu") == []
    assert "the choice starts again" in capsys.readouterr().err


def test_what_a_file_that_is_no_image_begins_with_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"password=hunter2")
    with pytest.raises(OSError, match="cannot identify image file") as error:
        decode(tmp_path / "1.jpg")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EROFS, "name a folder that can be written to"),
        (errno.EACCES, "ask for the right to it"),
        (errno.ENOSPC, "make room"),
        (errno.ENAMETOOLONG, "shorten the name"),
        (errno.EMFILE, "open more files"),
        (errno.EIO, "mend that and give the same command again"),
    ],
)
def test_what_the_system_says_is_a_sentence_with_what_to_do(number: int, advice: str) -> None:
    said = system_sentence(OSError(number, os.strerror(number), "/data/x"))
    assert said.startswith(f"/data/x: {os.strerror(number)}; ")
    assert advice in said


def test_a_reader_of_images_names_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path, "gone.jpg")


def test_a_file_behind_an_external_link_is_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "else.h5", "w") as file:
        file["index"] = np.array(["secret"], h5py.string_dtype())
    with h5py.File(tmp_path / "clip.h5", "w") as file:
        file["features"] = np.ones((1, 4), np.float32)
        file["index"] = h5py.ExternalLink("else.h5", "index")
    with pytest.raises(StoreError, match="0 datasets of ids"):
        read_foreign(tmp_path / "clip.h5")
