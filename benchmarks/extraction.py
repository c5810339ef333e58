"""Extraction from end to end against the bare forward pass, and half precision against fp32, with random weights.

The photographs are made once, in a temporary folder; the bare forward pass gets its batches decoded. On the CPU both
share the same cores, so `at best` says which ratio would be left if decoding cost its share of them and nothing else.

python -m benchmarks.extraction --images 256 --batch 16 --rounds 3 --only resnet18
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.pairs import Comparison, compare, report
from probe.backbones import Backbone, BackboneRow, adapter, load_encoder
from probe.data import choose_workers, decoded_batches, image_folder
from probe.extract import Settings, extract, plan_extraction
from probe.precision import choose_precision
from probe.progress import console
from probe.workspace import Workspace

ON_CPU = {
    "mobilenetv3_large_100": BackboneRow(library="timm", model="mobilenetv3_large_100", px=224),
    "resnet18": BackboneRow(library="timm", model="resnet18", px=224),
    "vit_small_patch16_224": BackboneRow(library="timm", model="vit_small_patch16_224", px=224),
}
ON_GPU = {
    "ViT-B-32": BackboneRow(library="timm", model="vit_base_patch32_clip_224", px=224),
    "SoViT-400m/14 at 384": BackboneRow(library="timm", model="vit_so400m_patch14_siglip_384", px=384, resize="squash"),
}
WIDTH, HEIGHT = 500, 375


def main() -> None:
    """Measures in a folder that is removed at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, help="by default what `probe extract` would choose")
    parser.add_argument("--only", help="one backbone")
    options = parser.parse_args()
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    workers = options.workers or choose_workers(shared=not gpu)[0]
    settings = Settings(batch=options.batch, workers=workers, pinned=gpu)
    console.quiet = True  # progress of each round
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        photographs(folder / "photographs", options.images)
        rows = {name: row for name, row in (ON_CPU | (ON_GPU if gpu else {})).items() if options.only in (None, name)}
        results = [measure(folder, name, row, device, settings, options.rounds) for name, row in rows.items()]
    title = f"{options.images:,} JPEGs of {WIDTH} x {HEIGHT}, {device.type}, {workers} decoding process(es)"
    report(f"{title}, {os.cpu_count()} CPUs", [comparison for found in results for comparison in found])
    if not gpu:
        print(f"no CUDA device is visible: {' and '.join(ON_GPU)} are left out")


def photographs(folder: Path, count: int) -> None:
    """JPEGs that compress like photographs: smooth regions, edges and grain."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize((WIDTH, HEIGHT), 3)
        grain = rng.normal(0, 10, (HEIGHT, WIDTH, 1))
        pixels = (np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:05d}.jpg", quality=85)


def measure(
    folder: Path, name: str, row: BackboneRow, device: torch.device, settings: Settings, rounds: int
) -> list[Comparison]:
    weights = folder / "random.safetensors"
    torch.manual_seed(0)
    save_file(
        {key: value.contiguous() for key, value in adapter("timm").build(row, None).state_dict().items()}, weights
    )
    backbone = Backbone(name, row, weights=weights)
    manifest = image_folder(folder / "photographs")
    images = manifest.images("photographs")
    root = manifest.roots["photographs"]
    chosen = choose_precision("auto", device)[0]
    fp32, half = load_encoder(backbone, device), load_encoder(backbone, device, chosen)
    start = time.perf_counter()
    with decoded_batches(images, root, fp32.prepare, batch=settings.batch, workers=0) as batches:
        prepared = [batch.prepared for batch in batches]
    seconds_decoding = time.perf_counter() - start
    batches = [batch for batch in prepared if batch is not None]

    def forward(encoder) -> np.ndarray:
        return np.concatenate([encoder(batch).numpy() for batch in batches])

    def end_to_end(encoder, precision: str) -> None:
        workspace = Workspace(folder, folder / "cache", folder / "out")
        shutil.rmtree(workspace.cache, ignore_errors=True)
        spec = backbone.spec(precision=precision)
        (task,) = plan_extraction(manifest, name, spec, workspace)
        extract(task, encoder, spec, settings)

    found = []
    for precision, encoder in {"fp32": fp32, str(chosen): half}.items():
        found.append(
            compare(
                f"{name} {precision}, end to end",
                lambda encoder=encoder, precision=precision: end_to_end(encoder, precision),
                "bare forward",
                lambda encoder=encoder: forward(encoder),
                rounds=rounds,
                target=0.9,
            )
        )
        at_best(found[-1], seconds_decoding, len(images), device)
    if chosen != "fp32":
        found.append(
            compare(
                f"{name} {chosen} forward",
                lambda: forward(half),
                "fp32",
                lambda: forward(fp32),
                rounds=rounds,
                target=3.5,
            )
        )
        a, b = forward(half), forward(fp32)
        cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        print(f"{name}: cosine of {chosen} to fp32 features: least {cosines.min():.6f}, mean {cosines.mean():.6f}")
    return found


def at_best(found: Comparison, decoding: float, images: int, device: torch.device) -> None:
    """Says what decoding takes away where it shares the cores with the forward pass."""
    forward = statistics.median(found.theirs)
    if device.type == "cpu":
        shared = forward / (forward + decoding / torch.get_num_threads())
        print(
            f"{found.work}: decoding takes {1000 * decoding / images:.1f} ms of one core an image, the forward pass "
            f"{1000 * forward / images:.1f} ms of all {torch.get_num_threads()}; at best {shared:.2f}"
        )


if __name__ == "__main__":
    main()
