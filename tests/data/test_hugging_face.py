"""Data sets of Hugging Face's `datasets` as images: their columns, what is written of them, and what is refused."""

import io
import json
import tarfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lazy_loader
import numpy as np
import pytest
from PIL import Image

from probe.data import HuggingFaceRows, is_hugging_face, read_manifest, write_data_set
from probe.data.decoding import decode
from probe.embed import list_images
from probe.errors import UsageError

pytestmark = pytest.mark.skipif(find_spec("datasets") is None, reason="`datasets` is not installed")
datasets: Any = lazy_loader.load("datasets")  # which takes seconds to import

CLASSES = ["boot", "pump", "clog", "mule"]


def jpeg(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (value, 0, 0)).save(buffer, "JPEG")
    return buffer.getvalue()


def made(count: int = 8, **columns: Any) -> Any:
    """A `datasets.Dataset`; row i shows red of 20 i, and is of class i modulo 4."""
    content: dict[str, Any] = {
        "image": [{"bytes": jpeg(20 * row), "path": None} for row in range(count)],
        "label": [row % len(CLASSES) for row in range(count)],
    }
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)}
    kinds |= {
        name: datasets.Value("string" if isinstance(column[0], str) else "int64") for name, column in columns.items()
    }
    return datasets.Dataset.from_dict(content | columns, features=datasets.Features(kinds))


def test_class_names_are_labels_and_positions_are_ids_and_bytes_stay_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = write_data_set(made(), tmp_path)
    manifest = read_manifest(folder / "manifest.parquet")
    assert manifest.images(folder.name) == [f"0000000{row}" for row in range(8)]
    assert dict(manifest.frame.select("image", "label").iter_rows()) == {
        f"0000000{row}": CLASSES[row % 4] for row in range(8)
    }
    assert sorted(manifest.splits) == ["test", "train", "val"]
    assert all((folder / f"0000000{row}").read_bytes() == jpeg(20 * row) for row in range(8))
    assert (
        "has no column id or image_id or __key__: its images are called by their positions" in capsys.readouterr().err
    )
    files = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert write_data_set(made(), tmp_path) == folder
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == files
    assert write_data_set(made(7), tmp_path) != folder


def test_ids_are_those_of_their_column_and_splits_those_of_a_dictionary(tmp_path: Path):
    ids = [f"{row % 2}/{row}.jpg" for row in range(8)]
    folder = write_data_set(datasets.DatasetDict(train=made(image_id=ids), validation=made(4), test=made(3)), tmp_path)
    frame = read_manifest(folder / "manifest.parquet").frame
    assert frame["image"].to_list()[:2] == ["train/0/0.jpg", "train/1/1.jpg"]
    assert frame.group_by("split", "role", maintain_order=True).len().rows() == [
        ("train", "train", 8),
        ("val", "both", 4),
        ("test", "both", 3),
    ]
    assert HuggingFaceRows(made(id=[f"{row}" for row in range(8)])).ids == list("01234567")


def test_shards_of_webdataset_are_read_by_their_keys(tmp_path: Path):
    with tarfile.open(tmp_path / "shard-0.tar", "w") as tar:
        for row in range(4):
            for suffix, content in (("jpg", jpeg(row)), ("json", json.dumps({"label": f"c{row}"}).encode())):
                member = tarfile.TarInfo(f"photo{row}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    files = str(tmp_path / "shard-0.tar")
    loaded = datasets.load_dataset("webdataset", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    rows = HuggingFaceRows(loaded)
    assert rows.ids == [f"photo{row}" for row in range(4)]
    assert [image.read() for image in rows.images()] == [jpeg(row) for row in range(4)]


def test_rows_are_embedded_as_images_and_only_when_they_are_asked_for():
    images = list_images(made(id=["a", "b", "c"], count=3))
    assert [image.name for image in images] == ["a", "b", "c"]
    for row, image in enumerate(images):
        np.testing.assert_array_equal(np.asarray(image.decode()), np.asarray(decode(io.BytesIO(jpeg(20 * row)))))
    both = datasets.DatasetDict(train=made(), test=made())
    assert is_hugging_face(both)
    with pytest.raises(UsageError, match="a data set of several splits; name one of them: train, test"):
        list_images(both)
    assert not any(map(is_hugging_face, ("photos", {}, [made()], np.zeros(3))))


def with_hidden_labels() -> Any:
    return made().map(lambda row: row | {"label": -1})


def with_two_images() -> Any:
    return datasets.concatenate_datasets(
        [made(), made().select_columns("image").rename_column("image", "mask")], axis=1
    )


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no image column": (lambda: made().remove_columns("image"), "has no column of type Image"),
    "two image columns": (with_two_images, "several columns of type Image, image, mask; keep one of them with `select"),
    "an id twice": (lambda: made(id=["a"] * 8), "has the id 'a' in its rows 0 and 1"),
    "an id that leads out": (lambda: made(id=[f"../{row}" for row in range(8)]), "not relative to the source's root"),
    "hidden labels": (with_hidden_labels, "has no label in its row 0; leave it out with `filter`"),
    "no rows": (lambda: made().select([]), "has no rows"),
    "streamed": (lambda: made().to_iterable_dataset(), "load it without streaming=True"),
    "another split": (lambda: datasets.DatasetDict(trian=made()), "a split 'trian'; did you mean 'train'"),
    "a split twice": (lambda: datasets.DatasetDict(val=made(), dev=made()), "'dev' is the second split that means val"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_is_not_understood_is_said_and_nothing_is_written(case: str, tmp_path: Path):
    make, said = REFUSED[case]
    with pytest.raises(UsageError, match=said):
        write_data_set(make(), tmp_path / "root")
    assert not (tmp_path / "root").exists()
