"""An exported folder gives the run's vectors to whoever loads it, and to nobody anything else."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import indent

import huggingface_hub.constants
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from feature_cache import FeatureStore
from probe import Embedder, load
from probe.cli import app
from probe.embed import ExportedFolder
from probe.errors import ProbeError, UsageError
from probe.export import Format, Formats, export, push
from probe.export.verification import verification_images, verify
from probe.runs import RunDirectory
from tests.embed.conftest import World
from tests.export.endpoint import COMMIT, serving
from tests.installed import ISOLATED, only

PACKAGES = ["torch", "torchvision", "timm", "safetensors"]  # as the card names them
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def folder(run: RunDirectory, world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "embedder"
    verified = export(run.path, path, data_root=world.folder.parent, license="apache-2.0")
    assert len(verified) == 3
    assert all(each.cosine > 0.99999 for each in verified)
    return path


@pytest.fixture(scope="session")
def files(world: World) -> list[Path]:
    return [world.folder / image for image in world.manifest.split("test")["image"]]


@pytest.fixture(scope="session")
def expected(run: RunDirectory, files: list[Path]) -> np.ndarray:
    return load(run.path, device="cpu", precision="fp32").encode(files)


def elsewhere(code: str, folder: Path, files: list[Path], packages: list[str]) -> np.ndarray:
    """`vectors` of the code, run in the folder by a fresh process that can import these packages, what they need, and
    nothing else. `images` are the files."""
    opened = (
        f"import sys\nfrom PIL import Image\nimages = [Image.open(file) for file in {[str(file) for file in files]}]\n"
    )
    saved = "\nimport numpy\nnumpy.save(sys.argv[1], numpy.asarray(vectors))\n"
    with TemporaryDirectory() as empty:
        variables = os.environ | only([*packages, "pillow"], Path(empty) / "packages")
        out = Path(empty) / "vectors.npy"
        words = [sys.executable, *ISOLATED, opened + code + saved, str(out)]
        done = subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return np.load(out)


def python_of(readme: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", readme, re.DOTALL)


def test_probe_loads_it_to_the_same_vectors(folder: Path, files: list[Path], expected: np.ndarray):
    loaded = load(folder, device="cpu")
    assert isinstance(loaded, Embedder)
    np.testing.assert_allclose(loaded.encode(files), expected, atol=1e-6)


@pytest.mark.slow
def test_a_power_of_the_features_is_a_step_of_every_loader_and_format(world: World, tmp_path: Path):
    run = world.run(backbone="mobilenetv1", head={"kind": "discriminant", "dim": 3, "power": 0.5})
    formats = Formats({Format.onnx, Format.pt2})
    verified = export(run.path, tmp_path / "it", data_root=tmp_path, images=world.folder, formats=formats)
    config = json.loads((tmp_path / "it" / "config.json").read_text())
    assert config["head"] == [0.5, "normalize", "linear", "normalize"]
    assert "x = x.sign() * x.abs() ** 0.5" in (tmp_path / "it" / "README.md").read_text()
    assert verified


@pytest.mark.slow
def test_the_loader_in_its_readme_needs_no_probe(folder: Path, files: list[Path], expected: np.ndarray):
    loader = python_of((folder / "README.md").read_text())[0]
    assert len([line for line in loader.splitlines() if line and "import" not in line]) <= 11
    assert "probe" not in loader
    assert f"With {', '.join(PACKAGES)}, in this folder" in (folder / "README.md").read_text()
    found = elsewhere(f"{loader}\nvectors = embed(images)", folder, files, PACKAGES)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_five_loaders_give_the_same_vectors_of_photographs_with_only_what_the_card_names(
    run: RunDirectory, world: World, tmp_path: Path
):
    for package in ("sentence_transformers", "onnxruntime"):
        pytest.importorskip(package)
    root, photographs = world.folder, sorted(world.folder.rglob("*.jpg"))[::250][:20]
    assert len(photographs) == 20
    formats = Formats({Format.onnx, Format.pt2}, preprocessing=True)
    export(run.path, tmp_path / "embedder", data_root=root, images=photographs[:2], formats=formats)
    folder, readme = tmp_path / "embedder", (tmp_path / "embedder" / "README.md").read_text()
    by_torch, by_sentences, by_onnx, by_export = python_of(readme)
    one_by_one = "import torch\nfrom torchvision.transforms.functional import pil_to_tensor\nfound = []\n"
    one_by_one += "for image in images:\n    x = pil_to_tensor(image.convert('RGB'))[None]\n"
    one_by_one += "{code}\n    found.append(torch.as_tensor(vectors).detach())\nvectors = torch.cat(found)"
    codes = {
        "PyTorch": (f"{by_torch}\nvectors = embed(images)", PACKAGES, 0.99999),
        "sentence-transformers": (
            by_sentences.replace('[Image.open("a.jpg")]', "images"),
            [*PACKAGES, "sentence-transformers"],
            0.99999,
        ),
        "ONNX": (one_by_one.format(code=indent(by_onnx, "    ")), ["onnxruntime", "torchvision"], 0.9999),
        "torch.export": (one_by_one.format(code=indent(by_export, "    ")), ["torchvision"], 0.9999),
    }
    expected = load(run.path, device="cpu", precision="fp32").encode(photographs)
    cosines = {"probe": (load(folder, device="cpu").encode(photographs) * expected).sum(axis=1).min()}
    for name, (code, packages, _) in codes.items():
        cosines[name] = (elsewhere(code, folder, photographs, packages) * expected).sum(axis=1).min()
    assert cosines["probe"] > 0.99999
    assert all(cosines[name] > least for name, (_, _, least) in codes.items()), cosines


def test_the_card_says_what_the_hub_and_a_reader_ask(folder: Path, run: RunDirectory, world: World):
    _, metadata, body = (folder / "README.md").read_text().split("---\n", 2)
    told = yaml.safe_load(metadata)
    assert told["library_name"] == "timm"
    assert told["pipeline_tag"] == "image-feature-extraction"
    assert told["license"] == "apache-2.0"
    score = run.scores.test.of("clean", "merged").mean["R@1"] or 0
    assert f"| R@1 | {100 * score:.1f} |" in body
    assert world.weights.name in body
    assert "queries of the run" in body
    config = json.loads((folder / "config.json").read_text())
    assert config["pretrained_cfg"]["input_size"] == [3, 224, 224]
    assert config["preprocess_cfg"]["resize_mode"] == "shortest"


def test_a_repository_of_the_hub_is_loaded_from_its_cache(
    folder: Path, files: list[Path], expected: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "models--me--groceries"
    shutil.copytree(folder, cached / "snapshots" / COMMIT)
    (cached / "refs").mkdir()
    for name in ("main", "v2"):
        (cached / "refs" / name).write_text(COMMIT)
    for name in ("me/groceries", "me/groceries@v2", f"me/groceries@{COMMIT}"):
        np.testing.assert_allclose(load(name, device="cpu").encode(files[:2]), expected[:2], atol=1e-6)
    for name, said in (
        (
            "me/groceries@v3",
            r"the files of me/groceries \(there is no folder me/groceries@v3 here\) are not in the local",
        ),
        ("me/others", r"HF_HUB_OFFLINE is set\); run `hf download me/others` where there is a network, and name the"),
    ):
        with pytest.raises(UsageError, match=said):
            load(name)
    (cached / "snapshots" / COMMIT / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"config\.json is not what was exported"):
        load("me/groceries")


@pytest.mark.slow
def test_a_repository_of_the_hub_is_downloaded_once(
    folder: Path, files: list[Path], expected: np.ndarray, tmp_path: Path
):
    code = (
        "import sys, numpy, probe\n"
        "numpy.save(sys.argv[1], probe.load('me/groceries', device='cpu').encode(sys.argv[2:]))\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "vectors.npy"), *map(str, files)]
    with serving(folder, "me/groceries") as (address, asked):
        variables = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        for _ in range(2):
            done = subprocess.run(words, cwd=ROOT, env=variables, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            np.testing.assert_allclose(np.load(tmp_path / "vectors.npy"), expected, atol=1e-6)
    sent = [path.rpartition("/")[2] for method, path in asked if method == "GET" and "/resolve/" in path]
    assert sorted(sent) == ["config.json", "digests.json", "model.safetensors"]


def test_probe_embed_takes_the_folder_in_place_of_the_run_and_does_not_mix_the_two(
    folder: Path, run: RunDirectory, files: list[Path], expected: np.ndarray, tmp_path: Path
):
    def embed(what: Path, count: int) -> str:
        words = ["embed", what, *files[:count], "--out", tmp_path / "vectors.h5", "--device", "cpu"]
        return CliRunner().invoke(app, list(map(str, words))).output

    assert "2 x 16 in" in embed(folder, 2)
    store = FeatureStore(tmp_path / "vectors.h5")
    np.testing.assert_allclose(store.load(list(map(str, files[:2]))), expected[:2], atol=1e-6)
    assert "holds no embeddings of this run" in embed(run.path, 3)
    assert "3 x 16 in" in embed(folder, 3)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "digests.json", "image_embedding.py"])
def test_a_flipped_byte_is_refused(folder: Path, name: str):
    file = folder / name
    before = file.read_bytes()
    middle = len(before) // 2
    try:
        file.write_bytes(before[:middle] + bytes([before[middle] ^ 1]) + before[middle + 1 :])
        with pytest.raises(UsageError, match=r"is not what was exported|cannot be checked"):
            load(folder, device="cpu")
    finally:
        file.write_bytes(before)


def test_a_folder_that_is_there_is_never_written_over(folder: Path, run: RunDirectory, world: World):
    with pytest.raises(UsageError, match="is there; name another folder"):
        export(run.path, folder, data_root=world.folder.parent)


def test_other_vectors_are_refused_and_nothing_is_left(run: RunDirectory, tmp_path: Path):
    rng = np.random.default_rng(0)
    with pytest.raises(ProbeError, match="gives other embeddings than the run"):
        verify("it", rng.normal(size=(3, 8)), rng.normal(size=(3, 8)), 0.99999)
    with pytest.raises(UsageError, match="there is no image"):
        export(run.path, tmp_path / "embedder", data_root=tmp_path, images=tmp_path / "gone.jpg")
    assert list(tmp_path.iterdir()) == []


def test_what_has_no_export_is_said(world: World, tmp_path: Path):
    of_descriptor = world.run(backbone="descriptor", head={"kind": "random-projection", "dim": 8})
    with pytest.raises(UsageError, match="the run reads the built-in descriptor"):
        export(of_descriptor.path, tmp_path / "a", data_root=tmp_path)
    fused = world.run(backbone=["mobilenetv1", "descriptor"], head={"kind": "random-projection", "dim": 8})
    with pytest.raises(UsageError, match="what can be exported is one backbone"):
        export(fused.path, tmp_path / "b", data_root=tmp_path)


def test_another_device_is_no_cpu(folder: Path):
    with pytest.raises(UsageError, match="'banana' is no device that probe runs on; use auto, cpu, cuda"):
        load(folder, device="banana")


@pytest.mark.slow
def test_a_run_without_scores_is_exported_and_its_card_says_so(world: World, tmp_path: Path):
    run = world.run(backbone="mobilenetv1", head={"kind": "pca-whitening", "dim": 3}, unscored=True)
    export(run.path, tmp_path / "it", data_root=tmp_path, images=world.folder)
    assert "None: it was fitted to all images" in (tmp_path / "it" / "README.md").read_text()


def test_nothing_is_pushed_offline(folder: Path):
    with pytest.raises(UsageError, match=r"nothing was pushed to me/it: HF_HUB_OFFLINE is set\. .* hf upload me/it"):
        push(folder, "me/it")


@pytest.mark.slow
def test_the_command_says_how_near_it_comes_and_refuses_what_is_there(
    run: RunDirectory, world: World, tmp_path: Path, files: list[Path]
):
    words = ["export", str(run.path), str(tmp_path / "embedder"), "--images", str(files[0]), "--format", "onnx"]
    done = CliRunner().invoke(app, [*words, "--part", "head"])
    assert done.exit_code == 0, done.output
    assert "head.onnx by onnxruntime: lowest cosine " in done.output
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2
    assert "is there; name another folder" in again.output


@pytest.mark.slow
def test_by_euclidean_distance_lengths_are_kept(world: World, tmp_path: Path, files: list[Path]):
    run = world.run(backbone="mobilenetv1", head={"kind": "pca-whitening", "dim": 8}, distance="euclidean")
    export(run.path, tmp_path / "embedder", data_root=tmp_path, images=files[:3])
    assert ExportedFolder(tmp_path / "embedder").config.head == ("normalize", "linear")
    expected = load(run.path, device="cpu").encode(files[:3])
    np.testing.assert_allclose(load(tmp_path / "embedder", device="cpu").encode(files[:3]), expected, atol=1e-4)


def test_the_runs_images_are_found_where_they_lay_or_below_the_data_root_and_else_others_are_made(
    run: RunDirectory, run_of_gone_images: RunDirectory, world: World, tmp_path: Path
):
    assert run.environment.images == {"pocket": world.folder.resolve()}
    assert verification_images(run, None, tmp_path).origin == "queries of the run"
    made = verification_images(run_of_gone_images, None, tmp_path)
    assert made.origin == f"made images, since the run's lie neither where they lay nor in {tmp_path}"
    assert len(made.pixels) == 50
    assert verification_images(run_of_gone_images, None, world.folder.parent).origin == "queries of the run"


@pytest.mark.slow
def test_a_run_without_queries_is_verified_on_images_of_its_folders(world: World, tmp_path: Path):
    run = world.run(backbone="descriptor", head={"kind": "pca-whitening", "dim": 3}, unscored=True)
    assert verification_images(run, None, tmp_path).origin == "images of the run's folders"


@pytest.mark.slow
def test_the_card_of_a_chosen_head_says_what_was_chosen(world: World, tmp_path: Path):
    run = world.run(backbone="mobilenetv1", head={"kind": "auto", "dim": 8})
    assert run.scores.choice is not None
    export(run.path, tmp_path / "it", data_root=tmp_path, images=world.folder)
    card = (tmp_path / "it" / "README.md").read_text()
    assert f"# mobilenetv1, {run.scores.choice.chosen}, {run.scores.dim}-d" in card
    assert f"`auto` chose **{run.scores.choice.chosen}**: {run.scores.choice.why}." in card
