"""What `probe extract` promises around the engine: precision, views, a limit, tars, several DATA, errors in writing."""

import io
import re
import shlex
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from feature_cache import FeatureStore, StoreError
from probe.backbones.catalogue import Backbone, find_backbone
from probe.backbones.encoder import Encoder
from probe.cli import app
from probe.data.folder import image_folder
from probe.data.loading import choose_workers
from probe.data.manifest import SPLITS, Manifest
from probe.data.selection import only
from probe.errors import UsageError
from probe.extract import local
from probe.extract.features import CachedFeatures
from probe.extract.local import extract
from probe.extract.plan import Settings, plan_extraction
from probe.extract.selection import Selection
from probe.extract.session import extract_sources
from probe.extract.speed import read_speeds
from probe.extract.stores import MissingFeaturesError
from probe.planning import Inventory, Planner
from probe.precision import choose_precision
from probe.recipes import read_recipe
from probe.workspace import Workspace
from tests.conftest import quick

Photos = Callable[..., Path]
FAST = Settings(batch=2, workers=0, part=4)


def packed(folder: Path, tar: Path) -> Path:
    """The images of a folder as one tar."""
    tar.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(tar, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.add(path, path.relative_to(folder).as_posix())
    return tar.parent


def session(
    folder: Path,
    backbone: Backbone,
    workspace: Workspace,
    settings: Settings = FAST,
    precision: str | None = "fp32",
) -> FeatureStore:
    manifest = image_folder(folder)
    extract_sources([manifest], backbone, workspace, settings, "cpu", precision)
    return FeatureStore(workspace.store(manifest.sources[0], backbone.name))


@pytest.mark.parametrize("workers", [0, 2])
def test_images_in_a_tar_have_the_features_of_the_same_images_loose(
    photos: Photos, backbone: Backbone, workspace: Workspace, tmp_path: Path, workers: int
) -> None:
    loose = session(photos("shoes", 7), backbone, workspace)
    folder = packed(tmp_path / "shoes", tmp_path / "packed" / "shard-0.tar")
    inside = session(folder, backbone, workspace, replace(FAST, workers=workers))
    assert inside.ids == [f"shard-0.tar/{image}" for image in loose.ids]
    for column in ("sizes", "contents"):
        np.testing.assert_array_equal(getattr(inside, column), getattr(loose, column))
    assert inside.load().tobytes() == loose.load().tobytes()


def test_a_tar_of_other_images_is_not_taken_for_extracted(
    photos: Photos, backbone: Backbone, workspace: Workspace, tmp_path: Path
) -> None:
    folder = packed(photos("one", 4, seed=1), tmp_path / "packed" / "0.tar")
    session(folder, backbone, workspace)
    packed(photos("other", 4, seed=2), tmp_path / "packed" / "0.tar")
    with pytest.raises(UsageError, match=r"made from other images than .*packed: 0\.tar/class 0/00\.png differs"):
        session(folder, backbone, workspace)


def test_images_that_a_tar_lacks_are_missing_before_any_work(
    photos: Photos, backbone: Backbone, workspace: Workspace, tmp_path: Path
) -> None:
    folder = packed(photos("shoes", 4), tmp_path / "packed" / "0.tar")
    manifest = image_folder(folder)
    frame = manifest.frame.with_columns(pl.col("image").str.replace("00.png", "99.png", literal=True))
    with pytest.raises(UsageError, match=r"1 image\(s\) of .* missing on disk, the first: .*0\.tar/class 0/99\.png"):
        plan_extraction(Manifest(frame, manifest.roots), "tiny", backbone.spec(), workspace)


def test_every_undecodable_image_is_recorded_with_its_own_reason(
    photos: Photos, backbone: Backbone, workspace: Workspace
) -> None:
    folder = photos("shoes", 2)
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(buffer, "JPEG")
    bomb = io.BytesIO()
    Image.new("1", (15_000, 15_000)).save(bomb, "PNG")
    broken = {
        "bomb.png": (bomb.getvalue(), "DecompressionBombError: Image size (225000000 pixels) exceeds limit"),
        "empty.jpg": (b"", "UnidentifiedImageError: cannot identify image file, it is empty"),
        "page.jpg": (
            b"<html>",
            "UnidentifiedImageError: cannot identify image file, it begins as none of",
        ),
        "half.jpg": (buffer.getvalue()[:-700], "OSError: image file is truncated"),
    }
    for name, (content, _) in broken.items():
        (folder / name).write_bytes(content)
    store = session(folder, backbone, workspace, replace(FAST, workers=1, max_failures=1.0))
    assert len(store) == 2
    assert {failure.id for failure in store.failed} == broken.keys()
    for failure in store.failed:
        assert failure.reason.startswith(broken[failure.id][1])


def test_a_limit_takes_the_first_images_and_the_store_is_not_mistaken_for_complete(
    photos: Photos, backbone: Backbone, workspace: Workspace
) -> None:
    folder = photos("shoes", 9)
    manifest = image_folder(folder)
    store = session(folder, backbone, workspace, replace(FAST, limit=4))
    assert store.ids == manifest.images("shoes")[:4]
    with pytest.raises(MissingFeaturesError, match=r"tiny\.h5 lacks 5 images of "):
        CachedFeatures(manifest, Selection(backbone="tiny"), {"tiny": backbone.identity()}, workspace)
    assert session(folder, backbone, workspace).ids == manifest.images("shoes")


def test_the_images_of_some_splits_are_extracted_and_the_others_added_later(
    photos: Photos, backbone: Backbone, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = image_folder(photos("shoes", 12))
    both = plain.split("train").head(1).with_columns(split=pl.lit("test"), role=pl.lit("index"))  # as Met's index
    manifest = Manifest(pl.concat([plain.frame, both]), plain.roots)
    wanted = manifest.frame.filter(pl.col("split") != "train")["image"].unique().sort().to_list()
    assert len(wanted) == 7

    def extracted(splits: tuple[str, ...] | None) -> FeatureStore:
        extract_sources([manifest], backbone, workspace, replace(FAST, splits=splits), "cpu", "fp32")
        return FeatureStore(workspace.store("shoes", "tiny"))

    def joined(splits: Sequence[str]) -> CachedFeatures:
        asked = {"tiny": backbone.identity()}
        return CachedFeatures(manifest, Selection(backbone="tiny"), asked, workspace, splits)

    part = extracted(("val", "test"))
    assert part.ids == wanted
    assert len(joined(["val", "test"]).frame("test")) == 4
    with pytest.raises(MissingFeaturesError, match=r"tiny\.h5 lacks 5 images of the manifest: "):
        joined(SPLITS)
    first = part.load(wanted)
    extracted(("val", "test"))  # nothing to do
    assert "shoes: val and test and what else there is, 7 images are in" in capsys.readouterr().err
    whole = extracted(None)
    assert set(whole.ids) == set(plain.images("shoes"))
    np.testing.assert_array_equal(whole.load(wanted), first)
    assert [speed.images for speed in read_speeds(workspace.cache)] == [7, 5]
    joined(SPLITS)


def test_a_split_that_is_none_or_that_data_lack_is_an_error_before_any_work(
    photos: Photos, backbone: Backbone, workspace: Workspace
) -> None:
    manifest = only(image_folder(photos("shoes", 4)), splits=["train", "test"])
    with pytest.raises(UsageError, match=r"shoes has no split 'val'; "):
        extract_sources([manifest], backbone, workspace, replace(FAST, splits=("val", "test")), "cpu")
    folder, places = photos("pets", 1), [f"--data-root={workspace.data_root}", f"--cache={workspace.cache}"]
    command = ["extract", str(folder), "--backbone", "descriptor", "--workers", "0", *places]
    unknown, lacked = (CliRunner().invoke(app, [*command, "--split", name]) for name in ("tset", "val"))
    assert (unknown.exit_code, lacked.exit_code) == (2, 2)
    assert "tset" in unknown.output
    assert "pets has no split 'val'" in lacked.output
    assert not workspace.cache.exists()


VIEWS = """
title: Views
data: {folder}
defaults:
  backbone: tiny
  views: true
  head: {{kind: linear, dim: 8}}
  loss: {{kind: arcface}}
  training: {{epochs: 1, batch: 8}}
  seeds: [0]
rows:
  - {{name: Own, training: {{val: 0.5, val_seed: 3}}}}
  - {{name: Other, train: {other}}}
backbones:
  tiny: {{library: timm, model: test_vit.r160_in1k, px: 32, options: {{img_size: 32}}, weights: {weights}}}
"""


@pytest.mark.slow
def test_of_a_drawn_validation_split_its_own_images_alone_are_extracted_through_the_search_view(
    photos: Photos, backbone: Backbone, workspace: Workspace, tmp_path: Path
) -> None:
    """By the commands of the plan, after which nothing is missing."""
    folder, other = photos("shoes", 16), photos("pets", 16, seed=1)
    rows = image_folder(folder).frame
    held_out = pl.when(pl.col("label") == "class 3").then(pl.lit("test")).otherwise(pl.lit("train"))
    roles = pl.when(pl.col("label") == "class 3").then(pl.lit("both")).otherwise(pl.lit("train"))
    rows.with_columns(split=held_out, role=roles).write_csv(folder / "manifest.csv")
    image_folder(other).frame.with_columns(split=pl.lit("train"), role=pl.lit("train")).write_csv(
        other / "manifest.csv"
    )
    recipe = tmp_path / "views.yaml"
    recipe.write_text(VIEWS.format(folder=folder, other=other, weights=backbone.weights))
    planned = Inventory(read_recipe(recipe), workspace)
    planner = Planner(workspace)
    images = {command: planner.images(found, planned) for command, found in planned.extractions.items()}
    assert sorted(images.values(), key=str) == [12, 16, 4, 4, 8]
    for command in planned.input_commands:
        words = [*shlex.split(command)[1:], "--weights", str(backbone.weights), "--workers", "0", "--device", "cpu"]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    found = Inventory(read_recipe(recipe), workspace)
    assert not found.missing
    for row, source, drawn in zip(found.recipe.rows, ("shoes", "pets"), (8, 4), strict=True):
        features = found.features[row.features_key]
        assert len(features.frame("val")) == drawn
        stored = set(FeatureStore(workspace.store(source, "tiny@test")).ids)
        assert stored == {*features.frame("val")["image"], *(rows["image"][12:] if source == "shoes" else ())}


@pytest.mark.parametrize(
    "words", [["--val", "0.1"], ["--val", "1.5", "--split", "val"], ["--val", "0", "--split", "val"]]
)
def test_a_share_that_is_none_or_without_a_split_is_refused(words: list[str], photos: Photos) -> None:
    done = CliRunner().invoke(app, ["extract", str(photos("pets", 1)), "--backbone", "descriptor", *words])
    assert done.exit_code == 2
    assert "--val is a share between 0 and 1, of classes that `--split val` extracts; add both." in done.output


def test_auto_precision_is_that_of_what_is_stored_else_what_suits_the_device(
    photos: Photos, backbone: Backbone, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    suits, reason = choose_precision("auto", torch.device("cpu"))
    store = session(photos("new", 2), backbone, workspace, precision="auto")
    assert store.spec["precision"] == suits.dtype_name
    assert "extract tiny on cpu" in (said := capsys.readouterr().err)
    assert f"in {suits} ({reason})" in said
    other = "fp32" if suits != "fp32" else "bf16"
    session(photos("shoes", 2), backbone, workspace, precision=other)
    store = session(photos("shoes", 4), backbone, workspace, precision="auto")
    assert len(store) == 4
    assert f"in {other} (what is stored was made with it)" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"holds other features than the ones asked for .*precision: "):
        session(photos("shoes", 6), backbone, workspace, precision=str(suits))


def test_without_the_option_precision_is_that_of_the_store_and_fp32_for_a_new_one(
    photos: Photos, backbone: Backbone, workspace: Workspace
) -> None:
    assert session(photos("new", 2), backbone, workspace, precision=None).spec["precision"] == "float32"
    session(photos("shoes", 2), backbone, workspace, precision="bf16")
    store = session(photos("shoes", 4), backbone, workspace, precision=None)
    assert (len(store), store.spec["precision"]) == (4, "bfloat16")


def test_a_backbone_without_a_choice_of_precision_says_so(photos: Photos, workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="--precision bf16: the backbone 'descriptor' runs in fp32 only"):
        session(photos("shoes", 2), find_backbone("descriptor"), workspace, precision="bf16")


def test_each_view_has_its_own_store_with_its_own_preprocessing(
    photos: Photos, backbone: Backbone, workspace: Workspace
) -> None:
    folder = photos("shoes", 3)
    stores = {}
    for view in ("train", "test"):
        seen = find_backbone(f"tiny@{view}", backbone.catalogue, backbone.weights)
        assert (seen.row.mean, seen.row.std, seen.row.px) == (backbone.row.mean, backbone.row.std, backbone.row.px)
        stores[view] = session(folder, seen, workspace)
        assert stores[view].path == workspace.cache / "shoes" / f"tiny@{view}.h5"
    preprocessing = [store.spec["preprocessing"] for store in stores.values()]
    assert [found["resize"] for found in preprocessing] == ["shortest+crop", "squash"]
    assert not np.array_equal(stores["train"].load(), stores["test"].load())


def test_a_second_checkpoint_of_one_architecture_is_told_the_row_that_keeps_both(
    photos: Photos, backbone: Backbone, workspace: Workspace, tmp_path: Path
) -> None:
    folder = photos("shoes", 3)
    session(folder, backbone, workspace)
    weights = load_file(backbone.weights_file)  # type: ignore[arg-type]
    save_file({key: value + 1 for key, value in weights.items()}, tmp_path / "second.safetensors")
    second = find_backbone("tiny", backbone.catalogue, tmp_path / "second.safetensors")
    row = "library: timm, model: test_vit.r160_in1k, px: 32, weights: FILE"
    with pytest.raises(
        UsageError, match=re.escape(f"in a YAML file that --catalogue names: `backbones: {{NAME: {{{row}")
    ):
        session(folder, second, workspace)


def test_the_same_weights_with_another_transform_are_said_to_be_other_features(
    photos: Photos, backbone: Backbone, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = photos("shoes", 3)
    session(folder, backbone, workspace)
    assert "another way" not in capsys.readouterr().err
    squashed = replace(backbone, name="squashed", row=backbone.row.model_copy(update={"resize": "squash"}))
    session(folder, squashed, workspace)
    [line] = [line for line in capsys.readouterr().err.splitlines() if "another way" in line]
    assert "tiny.h5 has features of the same weights as 'squashed'" in line
    assert 'resize: "shortest+crop", not "squash"' in line


@pytest.mark.parametrize(
    ("words", "near"),
    [(["sample", "--backbone", "descriptr"], "descriptor"), (["sampel", "--backbone", "descriptor"], "sample")],
)
def test_a_mistyped_name_is_told_the_nearest_before_the_sample_is_built(
    words: list[str], near: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, ["extract", *words, "--data-root", str(tmp_path)])
    assert done.exit_code == 2
    assert f"did you mean '{near}'" in done.output.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []


def test_a_view_of_the_built_in_descriptor_is_refused() -> None:
    with pytest.raises(UsageError, match="'descriptor@train': descriptor sees every image in the same way"):
        find_backbone("descriptor@train")


def test_sources_of_the_same_name_in_different_places_are_refused_in_one_call(
    photos: Photos, backbone: Backbone, workspace: Workspace
) -> None:
    manifests = [image_folder(photos(f"{user}/images", 3, seed)) for seed, user in enumerate(("ann", "bob"))]
    with pytest.raises(UsageError, match=r"two of the DATA have a source 'images', one in .*ann.* and one in .*bob"):
        extract_sources(manifests, backbone, workspace, FAST, "cpu")
    assert not workspace.cache.exists()


def test_several_data_are_extracted_in_one_call(photos: Photos, backbone: Backbone, workspace: Workspace) -> None:
    manifests = [image_folder(photos(name, 3, seed)) for seed, name in enumerate(("shoes", "pets"))]
    extract_sources([*manifests, manifests[0]], backbone, workspace, FAST, "cpu", "fp32")
    assert [len(FeatureStore(workspace.store(name, "tiny"))) for name in ("shoes", "pets")] == [3, 3]


class Watching:
    """The encoder; tells before each batch how many images it has given features and how many of them are on disk."""

    def __init__(self, encoder: Encoder, store: Path) -> None:
        self.encoder, self.parts, self.given = encoder, store.with_name(f"{store.name}.parts"), 0
        self.dim, self.precision, self.prepare, self.in_flight = encoder.dim, encoder.precision, encoder.prepare, []

    def __call__(self, batch: torch.Tensor, /) -> torch.Tensor:
        on_disk = sum(len(FeatureStore(part)) for part in self.parts.glob("[0-9]*.h5"))
        self.given += len(batch)
        self.in_flight.append(self.given - on_disk)
        return self.encoder(batch)


@pytest.mark.parametrize(("batch", "part"), quick([(4, 1), (3, 8), (2, 8), (2, 4), (3, 4), (2, 2)]))
def test_never_more_than_a_part_is_lost_if_the_process_is_killed(
    photos: Photos, backbone: Backbone, encoder: Encoder, workspace: Workspace, batch: int, part: int
) -> None:
    (task,) = plan_extraction(image_folder(photos("shoes", 25)), "tiny", backbone.spec(), workspace)
    watching = Watching(encoder, task.store)
    extract(task, watching, backbone.spec(), Settings(batch=batch, workers=0, part=part))
    assert max(watching.in_flight) <= max(part, batch)


class Overflowing:
    """The encoder, with a feature that float16 cannot hold in the second batch."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder, self.calls = encoder, 0
        self.dim, self.precision, self.prepare = encoder.dim, encoder.precision, encoder.prepare

    def __call__(self, batch: torch.Tensor, /) -> torch.Tensor:
        self.calls += 1
        return self.encoder(batch) + (1e6 if self.calls == 2 else 0)


@pytest.mark.parametrize("count", [4, 40], ids=["at the end", "soon"])
def test_an_error_while_writing_stops_the_run_and_keeps_what_was_written(
    photos: Photos, backbone: Backbone, encoder: Encoder, workspace: Workspace, count: int
) -> None:
    (task,) = plan_extraction(image_folder(photos("shoes", count)), "tiny", backbone.spec(), workspace)
    overflowing = Overflowing(encoder)
    with pytest.raises(StoreError, match=r"beyond float16; store it as float32 \(--dtype float32\)"):
        extract(task, overflowing, backbone.spec(), FAST)
    assert overflowing.calls < 20
    (part,) = task.store.with_name(f"{task.store.name}.parts").glob("*.h5")
    assert FeatureStore(part).ids == task.todo[:2]


def test_work_in_float16_is_set_aside_once_float32_is_asked_for_which_is_then_what_the_store_has(
    photos: Photos, backbone: Backbone, encoder: Encoder, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = photos("shoes", 8)
    (task,) = plan_extraction(image_folder(folder), "tiny", backbone.spec(), workspace)
    with pytest.raises(StoreError, match="--dtype float32"):
        extract(task, Overflowing(encoder), backbone.spec(), FAST)
    store = session(folder, backbone, workspace, replace(FAST, dtype="float32"))
    assert (len(store), store.dtype) == (8, np.float32)
    aside = task.store.with_name(f"{task.store.name}.parts.float16")
    assert f"set aside in {aside}; all images are extracted anew" in capsys.readouterr().err
    assert len(FeatureStore(next(aside.glob("*.h5")))) == 2
    assert session(folder, backbone, workspace).dtype == np.float32  # without being asked
    photos("shoes", 10)
    assert len(session(folder, backbone, workspace)) == 10


def test_a_finished_store_in_float16_stays_and_the_advice_says_what_has_to_go(
    photos: Photos, backbone: Backbone, encoder: Encoder, workspace: Workspace
) -> None:
    folder = photos("shoes", 4)
    store = session(folder, backbone, workspace)
    photos("shoes", 12)
    (task,) = plan_extraction(image_folder(folder), "tiny", backbone.spec(), workspace)
    with pytest.raises(StoreError, match=rf"beyond float16; delete {store.path} and store it as float32"):
        extract(task, Overflowing(encoder), backbone.spec(), FAST)
    with pytest.raises(UsageError, match="holds other features than the ones asked for"):
        session(folder, backbone, workspace, replace(FAST, dtype="float32"))
    assert len(FeatureStore(store.path)) == 4


def test_workers_leave_cpus_to_a_forward_pass_that_needs_them() -> None:
    assert 1 <= choose_workers(shared=True)[0] <= choose_workers(shared=False)[0] <= 32


def test_an_extraction_leaves_its_speed_for_estimates(photos: Photos, backbone: Backbone, workspace: Workspace) -> None:
    folder = photos("shoes", 7)
    session(folder, backbone, workspace, replace(FAST, limit=4))
    session(folder, backbone, workspace)
    session(folder, backbone, workspace)  # nothing to do, nothing to tell
    assert [(speed.backbone, speed.images) for speed in read_speeds(workspace.cache)] == [
        (backbone.name, 4),
        (backbone.name, 3),
    ]


def test_what_an_interrupted_extraction_took_is_not_told(
    photos: Photos, backbone: Backbone, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that goes on from its parts would look too fast."""
    folder = photos("shoes", 7)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(local, "_finish", stop)
        with pytest.raises(KeyboardInterrupt):
            session(folder, backbone, workspace)
    session(folder, backbone, workspace)
    assert not read_speeds(workspace.cache)
