"""The exported computation in other formats: ONNX for onnxruntime and OpenVINO, `.pt2` of torch.export, the package of
AOTInductor, TorchScript.

Each is written, read back by what will run it, and compared with the run on the same images.

    write_formats(folder, Formats({Format.onnx}), config, encoder, head, images, expected, None)
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.functional import pil_to_tensor

from probe.backbones import ModuleEncoder
from probe.embed import ExportedConfig, list_images
from probe.export.card import Verified
from probe.export.formats import HEAD_FILE, Format, Formats, Part
from probe.export.graph import EmbeddingModule, PixelModule
from probe.export.queries import QueryImages
from probe.export.verification import NEAR, verify
from probe.progress import track
from probe.search import Distance, search

OPSET = 18
INPUT, INPUT_OF_HEAD, OUTPUT = "images", "features", "embeddings"
INT8 = 0.9
"""The least cosine of int8. What it costs is told; below this it would be no embedding of the same image."""

Run = Callable[[torch.Tensor], np.ndarray]
"""A batch of the format's input -> (B, dim)."""


def write_formats(
    folder: Path,
    formats: Formats,
    config: ExportedConfig,
    encoder: ModuleEncoder,
    head: nn.Module,
    images: Sequence[Image.Image],
    expected: np.ndarray,
    queries: QueryImages | None,
) -> list[Verified]:
    """Writes files into the folder. `queries`: on which to measure what quantisation costs, where there are any.

    Raises ProbeError for other embeddings.
    """
    module: Any = EmbeddingModule(encoder.module, head).eval()
    plain, pixels = _normalised(encoder, images), [pil_to_tensor(image)[None] for image in images]
    verified = []
    if Format.onnx in formats.kinds and formats.part is Part.head:
        with torch.inference_mode():
            inputs = [module.backbone(plain)]
        file = folder / HEAD_FILE
        _write_onnx(head, inputs[0].clone()[:2], file, INPUT_OF_HEAD, sizes=False)
        verified.append(_verified("head.onnx by onnxruntime", _by_onnxruntime(file), inputs, expected, NEAR))
    inside = PixelModule(module, config.backbone).eval()
    traced, inputs = (inside, pixels) if formats.preprocessing else (module, [plain])
    example = torch.zeros(2, 3, 96, 160, dtype=torch.uint8) if formats.preprocessing else plain[:2].clone()
    if Format.onnx in formats.kinds and formats.part is Part.all:
        file = folder / Format.onnx.file
        _write_onnx(traced, example, file, INPUT, sizes=formats.preprocessing)
        verified.append(_verified("model.onnx by onnxruntime", _by_onnxruntime(file), inputs, expected, NEAR))
        if formats.int8:
            prepare = _pixels if formats.preprocessing else partial(_normalised, encoder)
            verified.append(_quantized(file, inputs, expected, queries, prepare, config.distance))
    if Format.pt2 in formats.kinds:
        file = folder / Format.pt2.file
        torch.export.save(_program(traced, example, formats.preprocessing), file)
        verified.append(_verified("model.pt2 by torch.export", _by_torch_export(file), inputs, expected, NEAR))
    if Format.aoti in formats.kinds:
        file = folder / Format.aoti.file
        program = _program(traced, example, formats.preprocessing)
        with _quiet():  # of what it finds of CUDA
            torch._inductor.aoti_compile_and_package(program, package_path=str(file))
        verified.append(_verified("model.aoti.pt2 by AOTInductor", _by_aotinductor(file), inputs, expected, NEAR))
    if Format.torchscript in formats.kinds:
        file = folder / Format.torchscript.file
        run = _write_torchscript(inside, file)
        remark = "deprecated by PyTorch: for programs that take nothing else"
        verified.append(_verified("model.torchscript.pt by torch.jit", run, pixels, expected, NEAR, remark))
    return verified


def _verified(
    what: str, run: Run, inputs: Sequence[torch.Tensor], expected: np.ndarray, least: float, remark: str = ""
) -> Verified:
    with torch.inference_mode():
        found = np.concatenate([run(batch) for batch in inputs])
    return Verified(what, verify(what, expected, found, least), remark)


def _dynamic(sizes: bool) -> dict[int, Any]:
    """The axes of the input that may have any length: the batch, and with `sizes` height and width."""
    axes = {0: torch.export.Dim("batch")}
    return axes | {2: torch.export.Dim("height"), 3: torch.export.Dim("width")} if sizes else axes


def _program(module: nn.Module, example: torch.Tensor, sizes: bool) -> torch.export.ExportedProgram:
    return torch.export.export(module, (example,), dynamic_shapes=(_dynamic(sizes),))


def _write_onnx(module: nn.Module, example: torch.Tensor, file: Path, name: str, sizes: bool) -> None:
    for part in module.modules():
        if hasattr(part, "fused_attn"):  # timm's; the exporter translates none of three axes, such as SAM's
            part.fused_attn = False  # pyright: ignore[reportArgumentType]
    with warnings.catch_warnings(), redirect_stdout(StringIO()):  # the exporter tells each of its steps
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example,),
            file,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=(_dynamic(sizes),),
            input_names=[name],
            output_names=[OUTPUT],
            external_data=False,
            verbose=False,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what libraries warn of by `logging`."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _by_onnxruntime(file: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: np.asarray(session.run([OUTPUT], {name: batch.numpy()})[0])


def _by_torch_export(file: Path) -> Run:
    module = torch.export.load(file).module()
    return lambda batch: module(batch).numpy()


def _by_aotinductor(file: Path) -> Run:
    model = torch._inductor.aoti_load_package(str(file))
    return lambda batch: model(batch).numpy()


def _normalised(encoder: ModuleEncoder, images: Sequence[Image.Image]) -> torch.Tensor:
    """(N, 3, px, px)."""
    prepared = np.stack([encoder.prepare(image)[0] for image in images])
    return encoder.normalised(torch.from_numpy(prepared)).contiguous()


def _pixels(images: Sequence[Image.Image]) -> torch.Tensor:
    """Of one image: (1, 3, height, width) uint8."""
    [image] = images
    return pil_to_tensor(image)[None]


def _quantized(
    file: Path,
    inputs: Sequence[torch.Tensor],
    expected: np.ndarray,
    queries: QueryImages | None,
    prepare: Callable[[Sequence[Image.Image]], torch.Tensor],
    distance: Distance,
) -> Verified:
    """Writes weights in int8 beside the file, and says what they cost."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    small = file.with_name("model.int8.onnx")
    with _quiet():  # of advice to prepare the graph, which the exporter has optimised
        quantize_dynamic(file, small, ["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8)
    runs = [_by_onnxruntime(each) for each in (file, small)]
    found = np.concatenate([runs[1](batch) for batch in inputs])
    cosine = verify("model.int8.onnx", expected, found, INT8)
    kept = (_nearest(found) == _nearest(expected)).mean()
    share = small.stat().st_size / file.stat().st_size
    return Verified(
        "model.int8.onnx by onnxruntime",
        cosine,
        f"{100 * share:.0f} % of the size; of these images, {100 * kept:.0f} % keep their nearest neighbour; "
        f"{_cost(runs, queries, prepare, distance)}",
    )


def _cost(
    runs: Sequence[Run],
    queries: QueryImages | None,
    prepare: Callable[[Sequence[Image.Image]], torch.Tensor],
    distance: Distance,
) -> str:
    """In R@1, of the second against the first."""
    if queries is None:
        return "R@1 is not measured, as the run's queries are not here"
    found: list[list[np.ndarray]] = [[], []]
    with track("R@1 of int8", len(queries.paths), "images") as advance:
        for image in list_images(queries.paths):
            batch = prepare([image.decode()])
            for run, embeddings in zip(runs, found, strict=True):
                embeddings.append(run(batch))
            advance(1)
    before, after = (100 * queries.recall(np.concatenate(embeddings), distance) for embeddings in found)
    return f"R@1 {after:.1f} %, not {before:.1f} %, among {len(queries.paths):,} of the run's queries"


def _nearest(embeddings: np.ndarray) -> np.ndarray:
    """(N, d) -> (N,) rows."""
    vectors, itself = torch.from_numpy(embeddings), np.repeat(np.arange(len(embeddings)), 2).reshape(-1, 2)
    return search(vectors, vectors, 1, itself).rows[:, 0]


def _write_torchscript(module: PixelModule, file: Path) -> Run:
    """And reads it back."""
    example = torch.zeros(2, 3, 96, 160, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # that it is deprecated, which docs/export.md says
        traced: Any = torch.jit.trace(module, (example,), check_trace=False)
        traced.save(str(file))
        scorer = torch.jit.load(str(file))
    return lambda batch: scorer(batch).numpy()
