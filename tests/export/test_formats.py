"""The same computation in other formats, by the programs that run them."""

import re
import shutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from probe import load
from probe.backbones import BackboneRow, Encoder
from probe.backbones.preprocessing import Preprocessing
from probe.errors import UsageError
from probe.export import Format, Formats, Part, export
from probe.export.formats import COMPILERS
from probe.export.graph import PixelModule
from probe.export.queries import QueryImages
from probe.runs import RunDirectory
from tests.embed.conftest import World


@pytest.fixture(scope="module")
def images(world: World) -> list[Path]:
    return [world.folder / image for image in world.manifest.split("test")["image"]][:4]


def normalised(encoder: Encoder, images: list[Path]) -> np.ndarray:
    """(N, 3, px, px), in float64 first."""
    pixels = np.stack([encoder.prepare(image)[0] for image in images]).astype(np.float64)
    return ((pixels / 255 - 0.5) / 0.5).transpose(0, 3, 1, 2).astype(np.float32)


@pytest.mark.slow
def test_onnx_and_torch_export_take_batches_of_any_size(
    run: RunDirectory, world: World, images: list[Path], tmp_path: Path
):
    runtime = pytest.importorskip("onnxruntime")
    formats = Formats({Format.onnx, Format.pt2}, int8=True)
    root = world.folder.parent
    verified = export(run.path, tmp_path / "embedder", data_root=root, images=images, formats=formats)
    assert all(each.cosine > 0.9999 for each in verified if "int8" not in each.what)
    card = (tmp_path / "embedder" / "README.md").read_text()
    assert "keep their nearest neighbour" in card
    score = 100 * (run.scores.test.of("clean", "merged").mean["R@1"] or 0)
    assert re.search(rf"R@1 [\d.]+ %, not {score:.1f} %, among 12 of the run's queries", card)
    embedder = load(run.path, device="cpu")
    expected, given = embedder.encode(images), normalised(embedder.encoders[0], images)
    session = runtime.InferenceSession(tmp_path / "embedder" / "model.onnx")
    if find_spec("openvino"):  # no part of the development tools
        compiled = import_module("openvino").Core().compile_model(tmp_path / "embedder" / "model.onnx", "CPU")
        np.testing.assert_allclose(compiled([given])[0], expected, atol=1e-3)
    program = torch.export.load(tmp_path / "embedder" / "model.pt2").module()
    for count in (1, 3):
        found = session.run(None, {"images": given[:count]})[0]
        np.testing.assert_allclose(found, expected[:count], atol=1e-4)
        with torch.inference_mode():
            np.testing.assert_allclose(program(torch.from_numpy(given[:count])), expected[:count], atol=1e-4)


@pytest.mark.slow
def test_the_head_alone_takes_features(run: RunDirectory, images: list[Path], tmp_path: Path):
    runtime = pytest.importorskip("onnxruntime")
    formats = Formats({Format.onnx}, Part.head)
    export(run.path, tmp_path / "embedder", data_root=tmp_path, images=images, formats=formats)
    features = np.random.default_rng(0).normal(size=(5, 1024)).astype(np.float32)
    session = runtime.InferenceSession(tmp_path / "embedder" / "head.onnx")
    head = run.head(torch.device("cpu"))
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(head(torch.from_numpy(features))).numpy()
    np.testing.assert_allclose(session.run(None, {"features": features})[0], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="there is no C++ compiler")
def test_aotinductors_package_takes_batches_of_any_size(run: RunDirectory, images: list[Path], tmp_path: Path):
    formats = Formats({Format.aoti})
    export(run.path, tmp_path / "embedder", data_root=tmp_path, images=images, formats=formats)
    model = torch._inductor.aoti_load_package(str(tmp_path / "embedder" / "model.aoti.pt2"))
    embedder = load(run.path, device="cpu")
    expected, given = embedder.encode(images), normalised(embedder.encoders[0], images)
    for count in (1, 3):
        contiguous = torch.from_numpy(np.ascontiguousarray(given[:count]))  # its code does not look at strides
        np.testing.assert_allclose(model(contiguous), expected[:count], atol=1e-4)


@pytest.mark.slow
def test_the_recall_of_the_runs_queries_is_the_runs_where_they_are_its_index(
    run: RunDirectory, run_of_gone_images: RunDirectory, world: World
):
    queries = QueryImages.of_run(run, world.folder.parent)
    assert queries is not None
    found = queries.recall(load(run.path, device="cpu").encode(queries.paths), "cosine")
    assert found == pytest.approx(run.scores.test.of("clean", "merged").mean["R@1"])
    few = QueryImages.of_run(run, world.folder.parent, most=7)
    assert few is not None
    assert few.frame["label"].to_list() == [
        label for label in queries.frame["label"].unique().sort()[::2] for _ in "123"
    ]
    assert QueryImages.of_run(run_of_gone_images, world.folder) is None


@pytest.mark.parametrize("size", [(300, 200), (97, 180), (160, 160)], ids=str)
@pytest.mark.parametrize("options", [{}, {"crop_pct": 0.875}, {"resize": "squash"}, {"interpolation": "bilinear"}])
@pytest.mark.parametrize("resampling", ["pillow", "tensor"])
def test_resizing_by_matrices_is_what_extraction_does(size: tuple[int, int], options: dict, resampling: str):
    row = BackboneRow(library="timm", model="any", px=127, std=(1, 1, 1), resampling=resampling, **options)  # pyright: ignore
    noise = np.random.default_rng(0).integers(0, 256, (size[1] // 4, size[0] // 4, 3), np.uint8)
    image = Image.fromarray(noise).resize(size)
    found = PixelModule(torch.nn.Identity(), row)(pil_to_tensor(image)[None])[0].permute(1, 2, 0).numpy()
    expected = Preprocessing(row)(image)[0] / 255 - 0.5
    assert np.abs(found - expected).max() < 4 / 255
    assert np.abs(found - expected).mean() < 0.3 / 255  # Pillow rounds between its passes, in either order


@pytest.mark.slow
def test_torchscript_takes_bytes_and_gives_embeddings(run: RunDirectory, images: list[Path], tmp_path: Path):
    formats = Formats({Format.torchscript})
    export(run.path, tmp_path / "embedder", data_root=tmp_path, images=images, formats=formats)
    scorer = torch.jit.load(str(tmp_path / "embedder" / "model.torchscript.pt"))
    expected = load(run.path, device="cpu").encode(images)
    for image, embedding in zip(images, expected, strict=True):
        found = scorer(pil_to_tensor(Image.open(image).convert("RGB"))[None])[0].numpy()
        assert found @ embedding > 0.9999


@pytest.mark.slow
def test_with_preprocessing_inside_images_of_any_size_go_in(run: RunDirectory, images: list[Path], tmp_path: Path):
    runtime = pytest.importorskip("onnxruntime")
    formats = Formats({Format.onnx, Format.pt2}, preprocessing=True)
    export(run.path, tmp_path / "embedder", data_root=tmp_path, images=images, formats=formats)
    session = runtime.InferenceSession(tmp_path / "embedder" / "model.onnx")
    expected = load(run.path, device="cpu").encode(images)
    for image, embedding in zip(images, expected, strict=True):
        pixels = pil_to_tensor(Image.open(image).convert("RGB"))[None].numpy()
        found = session.run(None, {"images": pixels})[0][0]
        assert found @ embedding > 0.9999


@pytest.mark.slow
def test_what_is_asked_for_in_vain_is_said(
    run: RunDirectory, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shutil.which", lambda name: None)
    for formats, said in (
        (Formats({Format.pt2}, int8=True), "are of ONNX; add --format onnx"),
        (Formats({Format.onnx}, Part.head, int8=True), "leave out --part head"),
        (Formats(preprocessing=True), "add --format onnx, pt2 or aoti"),
        (Formats({Format.torchscript}, preprocessing=True), "TorchScript always has it inside"),
        (Formats({Format.onnx}, Part.head, preprocessing=True), "add --format onnx, pt2 or aoti"),
        (Formats({Format.aoti}), r"--format aoti needs a C\+\+ compiler, .* or clang\+\+; install one"),
    ):
        with pytest.raises(UsageError, match=said):
            export(run.path, tmp_path / "embedder", data_root=tmp_path, images=images, formats=formats)
    assert list(tmp_path.iterdir()) == []
