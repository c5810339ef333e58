"""What is extracted before near-duplicates can be found, and that each data set is compared once."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_cache import Failure, Rows, StoreWriter
from probe.backbones.catalogue import find_backbone
from probe.data.curation import NearDuplicates, Source
from probe.data.manifest import COLUMNS, Manifest
from probe.errors import UsageError
from probe.planning import NearDuplicateFinder
from probe.workspace import Workspace


def manifest(source: str, *splits: str) -> Manifest:
    """Two classes of four images in each split."""
    rows = [
        (f"{split}{label}/{i}.jpg", source, f"{split}{label}", "d", split, "train" if split == "train" else "both")
        for split in splits
        for label in "ab"
        for i in range(4)
    ]
    return Manifest(pl.DataFrame(rows, COLUMNS, orient="row"), {}, f"the data set '{source}'")


HERE = {
    "met": manifest("met", "train", "val", "test"),
    "sop": manifest("sop", "train", "test"),
    "shop": manifest("shop", "train"),
    "bench": manifest("bench", "train", "val", "test"),
}


def finder(folder: Path) -> NearDuplicateFinder:
    return NearDuplicateFinder(HERE.__getitem__, Workspace(Workspace.of_user().data_root, folder, folder), "cpu")


def source(data: str, backbone: str = "descriptor", benchmark: str | None = None, **fields: str) -> Source:
    rule = NearDuplicates(backbone=backbone, cosine=0.9, benchmark=benchmark)
    return Source.model_validate({"data": data, "near_duplicates": rule, **fields})


def store(folder: Path, of: Manifest, seed: int, failed: str | None = None) -> None:
    """Features of which each image of a class has the same, but for the last one."""
    path = Workspace(folder, folder, folder).store(of.sources[0], "descriptor")
    ids = [image for image in of.images(of.sources[0]) if image != failed]
    rng = np.random.default_rng(seed)
    of_class = {label: rng.normal(size=16) for label in sorted({image.split("/")[0] for image in ids})}
    own = [rng.normal(size=16) if image.endswith("3.jpg") else of_class[image.split("/")[0]] for image in ids]
    with StoreWriter(path, find_backbone("descriptor").spec()) as writer:
        failures = [Failure(failed, "truncated")] if failed else []
        writer.add(Rows(ids, np.stack(own), np.full((len(ids), 2), 64)), failures)
        writer.finish()


def test_one_command_for_data_of_which_the_same_splits_are_lacking(tmp_path: Path):
    sources = [source("met", benchmark="bench"), source("sop"), source("shop"), Source(data="bench")]
    with pytest.raises(UsageError) as raised:
        finder(tmp_path).require_features(sources)
    reasons, _, commands = str(raised.value).partition(" First run: ")
    assert reasons.count("there are no features of 'descriptor'") == 4
    assert [command.split(" --cache")[0] for command in commands.split("; ")] == [
        "probe extract met sop --backbone descriptor --split train",
        "probe extract bench --backbone descriptor --split val --split test",
        "probe extract shop --backbone descriptor",
    ]
    with pytest.raises(UsageError, match=r"--backbone mine --split test .*\(with the --catalogue that has it\)"):
        finder(tmp_path).require_features([source("met", "mine", split="test")])
    with pytest.raises(UsageError, match=r"First run: probe cache import FILE --source SOURCE --name mine"):
        finder(tmp_path).require_features([source("met", "foreign:mine")])


def test_images_that_could_not_be_decoded_stay_and_the_first_of_the_others(tmp_path: Path):
    store(tmp_path, HERE["met"], 0, failed="traina/0.jpg")
    found = finder(tmp_path)
    found.require_features([source("met")])
    left_out = found(source("met"))
    assert left_out.rows.select("image", "near_image").rows() == [
        ("traina/2.jpg", "traina/1.jpg"),
        ("trainb/1.jpg", "trainb/0.jpg"),
        ("trainb/2.jpg", "trainb/0.jpg"),
    ]
    assert left_out.features.startswith("descriptor/met:")
    assert found(source("met", split="train")) is left_out, "compared once"
    assert found(source("met", split="test")).rows["image"].str.starts_with("test").all()


def test_a_benchmarks_queries_of_validation_and_test_are_compared(tmp_path: Path):
    store(tmp_path, HERE["met"], 0)
    store(tmp_path, HERE["bench"], 0)  # the same features under the same ids
    assert not finder(tmp_path)(source("met", benchmark="bench")).rows["of_query"].any()
    rows = finder(tmp_path)(source("met", benchmark="bench", split="val")).rows
    near = rows.filter("of_query")
    assert len(near) == 8
    assert near["near_source"].unique().to_list() == ["bench"]
    assert near.filter(pl.col("image") == "vala/3.jpg")["near_image"].to_list() == ["vala/3.jpg"]
