"""Images a second of ViT-B/16 and SoViT-400m/14 at 384, random weights in bf16, torch.compile or not: the encoder,
which takes pixels from the machine's memory and gives features to it, against the bare forward pass; what share of the
products at best that is; and JPEGs to a store.

python -m benchmarks.sections benchmarks.gpu.extraction --device cuda
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.extraction import Extraction, photographs, random_weights
from benchmarks.gpu.world import finish
from benchmarks.pairs import compare, timed
from benchmarks.results import Comparison, Figure, Result
from benchmarks.sections import Size
from probe.backbones import Backbone, BackboneRow, ModuleEncoder, load_encoder

MODELS = {  # with their batch
    "ViT-B/16": (BackboneRow(library="timm", model="vit_base_patch16_224", px=224), 512),
    "SoViT-400m/14 at 384": (
        BackboneRow(library="timm", model="vit_so400m_patch14_siglip_384", px=384, resize="squash"),
        128,
    ),
}
SMALL = {"test ViT": (BackboneRow(library="timm", model="test_vit", px=160), 4)}
PRODUCT = 8192  # rows and columns
BATCHES = 4  # in a round


def measure(size: Size) -> Iterator[Result]:
    device = torch.device(size.device)
    peak = peak_rate(device, 256 if size.small else PRODUCT)
    yield Figure(what="bf16 products", value=peak / 1e12, unit="TFLOP/s")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        photographs(folder / "photographs", 8 if size.small else 512)
        for name, (row, batch) in (SMALL if size.small else MODELS).items():
            backbone = Backbone(name, row, weights=random_weights(folder, row))
            encoder = load_encoder(backbone, device, "bf16")
            assert isinstance(encoder, ModuleEncoder), "timm's rows are modules"
            yield from forward(name, encoder, batch, row.px, peak, min(size.rounds, 3))
            extraction = Extraction(folder, backbone, encoder, "bf16", device, batch)
            yield Comparison(
                work=f"{name} bf16, {extraction.images:,} JPEGs to a store",
                against="",
                ours=[timed(extraction.run)],
                theirs=[],
                amount=extraction.images,
                unit="images",
            )


def forward(name: str, encoder: ModuleEncoder, batch: int, px: int, peak: float, rounds: int) -> Iterator[Result]:
    """The encoder against its module, as it is and compiled."""
    pixels = torch.randint(0, 256, (batch, px, px, 3), dtype=torch.uint8)
    pixels = pixels.pin_memory() if encoder.device.type == "cuda" else pixels
    images = encoder.normalised(pixels).to(encoder.dtype)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        encoder.module(images[:1])
    operations = counter.get_total_flops() * batch * BATCHES
    plain, compiled = encoder.module, torch.compile(encoder.module)
    modules: dict[str, Any] = {"": plain, ", torch.compile": compiled}
    for how, module in modules.items():
        encoder.module = module
        found = compare(
            f"{name} bf16{how}, {BATCHES} x {batch} images, pixels to features",
            lambda: [encoder(pixels) for _ in range(BATCHES)],
            "the bare forward pass",
            lambda: bare(encoder, images),
            rounds=rounds,
            target=0.9,
            amount=batch * BATCHES,
            unit="images",
        )
        yield found
        yield Figure(what=f"{name}{how}: share of the products", value=operations / min(found.theirs) / peak, unit="")
    encoder.module = plain


@torch.inference_mode()
def bare(encoder: ModuleEncoder, images: torch.Tensor) -> None:
    for _ in range(BATCHES):
        encoder.module(images)
    finish(encoder.device)


def peak_rate(device: torch.device, side: int) -> float:
    """Operations a second of a large product of bfloat16, at best; a multiply-add is two."""
    matrix = torch.randn(side, side, device=device, dtype=torch.bfloat16)

    def product() -> None:
        torch.mm(matrix, matrix)
        finish(device)

    product()
    return 2 * side**3 / min(timed(product) for _ in range(10))
