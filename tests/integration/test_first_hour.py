"""Two ways in which people begin: a checkpoint and a loss of their own to a table in LaTeX, and 3,000 photographs with
odd files among them to vectors and neighbours. The third, a fresh clone to the report, is in test_quickstart.py."""

import io
import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.conftest import Shared
from tests.data.test_decoding import LONG, chunk, with_chunk
from tests.integration.commands import Shell
from tests.own_parts import write_pages_parts

pytestmark = pytest.mark.slow

PHOTOGRAPHS, ODD = 3000, 4  # odd ones that are read all the same
RECIPE = """
title: My losses on my photographs
data: photographs
defaults:
  backbone: {backbone}
  head: {{kind: linear, dim: 32}}
  loss: {{kind: arcface}}
  training: {{epochs: 2, batch: 64}}
  seeds: [0, 1]
rows:
  - {{name: ArcFace}}
"""
MINE = '  - {name: Mine, loss: {kind: "my_losses:CombinedMargin", margin: 0.4}}\n'


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def photographs(folder: Path, pocket: Path, count: int) -> list[str]:
    """`<folder>/<class>/<image>`, of the pocket set's; their ids."""
    rows = pl.read_csv(pocket / "manifest.csv", infer_schema=False).head(count)
    ids = []
    for number, (image, label) in enumerate(rows.select("image", "label").iter_rows()):
        ids.append(f"{label}/{number:04}{Path(image).suffix}")
        (folder / ids[-1]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(pocket / image, folder / ids[-1])
    return ids


def test_a_checkpoint_and_a_loss_of_ones_own_become_a_table_in_latex(tmp_path: Path, shared: Shared) -> None:
    photographs(tmp_path / "data" / "photographs", shared("data/pocket"), 240)
    state = load_file(shared("weights/mobilenetv1_100.tf_qat_in1k_nohead.safetensors"))
    wrapped = {f"module.encoder.{name}": tensor for name, tensor in state.items()}
    torch.save({"epoch": 7, "args": Namespace(lr=0.1), "model": wrapped}, tmp_path / "checkpoint.pth")
    row = "backbones:\n  mine: {library: timm, model: mobilenetv1_100, px: 96}\n"
    (tmp_path / "mine.yaml").write_text(row)
    write_pages_parts(tmp_path)
    (tmp_path / "table.yaml").write_text(RECIPE.format(backbone="mine") + MINE + row)
    shell = Shell(tmp_path)
    shell("probe extract photographs --backbone mine --catalogue mine.yaml --weights checkpoint.pth --workers 0")
    shell("probe fit table.yaml")
    shell("probe table table.yaml")
    latex = (tmp_path / "out" / "tables" / "table.tex").read_text()
    assert r"\begin{tabular}" in latex
    assert {"ArcFace", "Mine"} <= set(latex.replace("&", " ").split())


def test_3000_photographs_with_odd_files_among_them_become_vectors_and_neighbours(
    tmp_path: Path, shared: Shared
) -> None:
    folder = tmp_path / "data" / "photographs"
    ids = photographs(folder, shared("data/pocket"), PHOTOGRAPHS)
    first = ids[0].split("/")[0]
    grey = Image.fromarray(np.random.default_rng(1).integers(0, 65536, (60, 40)).astype(np.uint16))
    big_endian = Image.frombytes("I;16B", grey.size, np.asarray(grey).astype(">u2").tobytes())
    big_endian.save(folder / first / "microscope.tif")
    (folder / first / "strip.png").write_bytes(png(1, 10_000))
    (folder / first / "screenshot.png").write_bytes(with_chunk(png(50, 40), chunk(b"zTXt", LONG), last=True))
    (folder / first / "not an image.jpg").write_bytes(b"<html>")
    (folder / first / "cafe\u0301.png").write_bytes(png(30, 30))
    for name in ("1.MOV", "2.mov", "logo.svg", "album.tgz", "copy.jpg.", "notes.txt", "._0001.jpg"):
        (folder / name).write_bytes(b"x")
    shell = Shell(tmp_path)
    done = shell("probe extract photographs --backbone descriptor")
    assert "passed over, as no images: 2 .mov, 1 .svg, 1 .tgz, 1 .txt, 1 with a dot at the end" in done.stderr
    assert f"photographs: {PHOTOGRAPHS + ODD:,} images in" in done.stderr
    assert "could not decode" in done.stderr
    (tmp_path / "mine.yaml").write_text(RECIPE.format(backbone="descriptor"))
    shell("probe fit mine.yaml --seeds 0")
    (run,) = (tmp_path / "out" / "runs").iterdir()

    unlabelled = tmp_path / "unlabelled"
    unlabelled.mkdir()
    for image in ids[:200]:
        shutil.copy(folder / image, unlabelled / image.replace("/", " "))
    said = shell(f"probe embed {run} {unlabelled} --out vectors.npy").stderr
    assert "Traceback" not in said
    vectors = np.load(tmp_path / "vectors.npy")
    assert vectors.shape == (200, 32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    order = sorted(image.replace("/", " ") for image in ids[:200])
    labels = np.array([name.rsplit(" ", 1)[0] for name in order])
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -1)
    nearest = labels[similar.argmax(axis=1)]
    assert (nearest == labels).mean() > 2 * np.mean([(labels == label).mean() for label in labels])
