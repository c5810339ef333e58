"""Extraction from end to end against the bare forward pass, and half precision against fp32, with random weights.

The photographs are made once, in a temporary folder; the bare forward pass gets its batches decoded. On the CPU both
share the same cores, so `at best` is which ratio would be left if decoding cost its share of them and nothing else.

make bench BENCH=extraction
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.pairs import compare, timed
from benchmarks.results import Cost, Figure, Result
from benchmarks.sections import Size
from probe.allocator import keep_freed_memory
from probe.backbones import Backbone, BackboneRow, Encoder, adapter, load_encoder
from probe.data import Manifest, decoded_batches, image_folder
from probe.extract import Settings, extract, plan_extraction
from probe.precision import choose_precision
from probe.progress import console
from probe.workspace import Workspace

MODELS = {
    "MobileNetV3": BackboneRow(library="timm", model="mobilenetv3_large_100", px=224),
    "ResNet-18": BackboneRow(library="timm", model="resnet18", px=224),
    "ViT-S/16": BackboneRow(library="timm", model="vit_small_patch16_224", px=224),
}
SMALL = {"test ViT": BackboneRow(library="timm", model="test_vit", px=160)}
WIDTH, HEIGHT = 500, 375
PAGE = "extraction.md#speed"


def measure(size: Size) -> Iterator[Result]:
    """In a folder that is removed at the end; both sides keep freed memory, as commands do."""
    keep_freed_memory()
    device = torch.device(size.device)
    count, batch = (16, 8) if size.small else (256, 64)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        photographs(folder / "photographs", count)
        for name, row in (SMALL if size.small else MODELS).items():
            backbone = Backbone(name, row, weights=random_weights(folder, row))
            yield from of_model(folder, backbone, device, batch, size.rounds)
        yield from cost_of_images(folder, backbone, device, batch, count)


def of_model(folder: Path, backbone: Backbone, device: torch.device, batch: int, rounds: int) -> Iterator[Result]:
    name, half = backbone.name, str(choose_precision("auto", device)[0])
    encoders = {precision: load_encoder(backbone, device, precision) for precision in dict.fromkeys(("fp32", half))}
    for precision, encoder in encoders.items():
        extraction = Extraction(folder, backbone, encoder, precision, device, batch)
        found = compare(
            f"{name} {precision}, JPEGs to a store",
            extraction.run,
            "the bare forward pass",
            extraction.forward,
            rounds=rounds,
            target=0.95,
            amount=extraction.images,
            unit="images",
            page=PAGE,
        )
        yield found
        if device.type == "cpu":
            forward = min(found.theirs)
            decoding = extraction.seconds_decoding / torch.get_num_threads()
            yield Figure(what=f"{name} {precision}: ratio at best", value=forward / (forward + decoding), unit="")
    if half == "fp32":
        return
    both = {p: Extraction(folder, backbone, encoder, p, device, batch) for p, encoder in encoders.items()}
    yield compare(
        f"{name} {half} forward", both[half].forward, "fp32", both["fp32"].forward, rounds=rounds, target=3.5, page=PAGE
    )
    a, b = both[half].forward(), both["fp32"].forward()
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    yield Figure(what=f"{name} {half}: least cosine to fp32 features", value=float(cosines.min()), unit="")


def cost_of_images(folder: Path, backbone: Backbone, device: torch.device, batch: int, count: int) -> Iterator[Result]:
    encoder = load_encoder(backbone, device)
    for images in (count // 4, count // 2, count):
        extraction = Extraction(folder, backbone, encoder, "fp32", device, batch, images)
        yield Cost(axis="images", side=f"extraction, {backbone.name}", size=images, seconds=timed(extraction.run))


@dataclass
class Extraction:
    """Of the folder's photographs, all or the first ones: from files to a store, and the forward pass alone."""

    folder: Path
    backbone: Backbone
    encoder: Encoder
    precision: str
    device: torch.device
    batch: int
    limit: int | None = None

    @cached_property
    def manifest(self) -> Manifest:
        return image_folder(self.folder / "photographs")

    @property
    def images(self) -> int:
        return self.limit or len(self.manifest.images("photographs"))

    def run(self) -> None:
        """As `probe extract` does it, into a new store."""
        console.quiet = True
        workspace = Workspace(self.folder, self.folder / "cache", self.folder / "out")
        shutil.rmtree(workspace.cache, ignore_errors=True)
        spec = self.backbone.spec(precision=self.precision)
        (task,) = plan_extraction(self.manifest, self.backbone.name, spec, workspace, limit=self.limit)
        extract(task, self.encoder, spec, Settings(batch=self.batch, pinned=self.device.type == "cuda"))

    def forward(self) -> np.ndarray:
        """(N, D), of batches that are decoded already."""
        return np.concatenate([self.encoder(batch).numpy() for batch in self._batches])

    @cached_property
    def seconds_decoding(self) -> float:
        """In this process."""
        return timed(self._decode)

    @cached_property
    def _batches(self) -> list[torch.Tensor]:
        return self._decode()

    def _decode(self) -> list[torch.Tensor]:
        images, root = self.manifest.images("photographs")[: self.images], self.manifest.roots["photographs"]
        with decoded_batches(images, root, self.encoder.prepare, batch=self.batch, workers=0) as batches:
            return [batch.prepared for batch in batches if batch.prepared is not None]


def random_weights(folder: Path, row: BackboneRow) -> Path:
    torch.manual_seed(0)
    state = adapter(row.library).build(row, None).state_dict()
    path = folder / f"{row.model}.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


def photographs(folder: Path, count: int) -> None:
    """JPEGs that compress like photographs: smooth regions, edges and grain."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize((WIDTH, HEIGHT), 3)
        grain = rng.normal(0, 10, (HEIGHT, WIDTH, 1))
        pixels = (np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:05d}.jpg", quality=85)
