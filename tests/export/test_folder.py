"""An exported folder gives the run's vectors to whoever loads it, and to nobody anything else."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from probe import Embedder, load
from probe.cli import app
from probe.embed import ExportedFolder
from probe.errors import ProbeError, UsageError
from probe.export import export, push
from probe.export.verification import verification_images, verify
from probe.runs import RunDirectory
from tests.embed.conftest import World

WITHOUT_PROBE = """
import sys
sys.modules["probe"] = None                     # an import of it fails
sys.path = [place for place in sys.path if place not in ("", {root!r})]
"""
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


def elsewhere(code: str, folder: Path, files: list[Path]) -> np.ndarray:
    """`vectors` of the code, run in the folder by a fresh process that cannot import probe. `images` are the files."""
    opened = f"from PIL import Image\nimages = [Image.open(file) for file in {[str(file) for file in files]}]\n"
    saved = "\nimport numpy\nnumpy.save(sys.argv[1], numpy.asarray(vectors))\n"
    text = WITHOUT_PROBE.format(root=str(ROOT)) + opened + code + saved
    out = folder.parent / "vectors.npy"
    done = subprocess.run([sys.executable, "-c", text, out], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.load(out)


def python_of(readme: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", readme, re.DOTALL)


def test_probe_loads_it_to_the_same_vectors(folder: Path, files: list[Path], expected: np.ndarray):
    loaded = load(folder, device="cpu")
    assert isinstance(loaded, Embedder)
    np.testing.assert_allclose(loaded.encode(files), expected, atol=1e-6)


@pytest.mark.slow
def test_the_loader_in_its_readme_needs_no_probe(folder: Path, files: list[Path], expected: np.ndarray):
    loader = python_of((folder / "README.md").read_text())[0]
    assert len([line for line in loader.splitlines() if line and "import" not in line]) <= 11
    assert "probe" not in loader
    found = elsewhere(f"{loader}\nvectors = embed(images)", folder, files)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_sentence_transformers_encodes_to_the_same_vectors(folder: Path, files: list[Path], expected: np.ndarray):
    pytest.importorskip("sentence_transformers")
    [code] = [text for text in python_of((folder / "README.md").read_text()) if "SentenceTransformer" in text]
    code = code.replace('[Image.open("a.jpg")]', "images")
    np.testing.assert_allclose(elsewhere(code, folder, files), expected, atol=1e-5)


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


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "digests.json"])
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


def test_by_euclidean_distance_lengths_are_kept(world: World, tmp_path: Path, files: list[Path]):
    run = world.run(backbone="mobilenetv1", head={"kind": "pca-whitening", "dim": 8}, distance="euclidean")
    export(run.path, tmp_path / "embedder", data_root=tmp_path, images=files[:3])
    assert ExportedFolder(tmp_path / "embedder").config.head == ("normalize", "linear")
    expected = load(run.path, device="cpu").encode(files[:3])
    np.testing.assert_allclose(load(tmp_path / "embedder", device="cpu").encode(files[:3]), expected, atol=1e-4)


def test_where_the_runs_images_are_not_there_others_are_made(run: RunDirectory, world: World, tmp_path: Path):
    made = verification_images(run, None, tmp_path)
    assert made.origin == f"made images, since the run's do not lie in {tmp_path}"
    assert len(made.pixels) == 50
    assert verification_images(run, None, world.folder.parent).origin == "queries of the run"
