"""`probe export`: a finished run as one folder that others load, without probe.

probe export out/runs/mobilenetv1_linear_arcface_seed0_0a1b2c3d4e5f embedder
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from probe.commands.options import DEFAULT, DataRoot, MovedWeights
from probe.export import Format, Formats, Part


class Quantized(StrEnum):
    """What `--quantize` takes."""

    int8 = "int8"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What to write; it must not be there.")],
    images: Annotated[
        list[Path] | None,
        typer.Option(help="Images or folders to verify it on.", show_default="queries of the run"),
    ] = None,
    weights: MovedWeights = None,
    license: Annotated[
        str | None,
        typer.Option(
            help="Of the backbone's weights, as the Hub writes it: apache-2.0, mit, …", show_default="what timm says"
        ),
    ] = None,
    format: Annotated[
        list[Format] | None, typer.Option(help="Other formats beside the folder's own files; repeatable.")
    ] = None,
    part: Annotated[Part, typer.Option(help="Of ONNX: backbone and head, or the head alone.")] = Part.all,
    preprocessing: Annotated[
        bool,
        typer.Option("--preprocessing", help="Resize and normalise inside of ONNX, .pt2 and AOTI: uint8 images in."),
    ] = False,
    quantize: Annotated[
        Quantized | None, typer.Option(help="A second ONNX, smaller, its cost in R@1 measured.")
    ] = None,
    push: Annotated[
        str | None, typer.Option(metavar="REPO", help="Upload it to this repository of the hub, when it is written.")
    ] = None,
    data_root: DataRoot = DEFAULT.data_root,
) -> None:
    """Write a finished run as one folder that others load: PyTorch alone, sentence-transformers, the Hub.

    Each way to load it is first compared with the run on up to 50 images.
    """
    from probe.export import export as write
    from probe.export import push as upload
    from probe.terminal import printer

    formats = Formats(set(format or ()), part, preprocessing, int8=quantize is Quantized.int8)
    verified = write(run, folder, data_root=data_root, images=images, weights=weights, license=license, formats=formats)
    for each in verified:
        remark = f"; {each.remark}" if each.remark else ""
        printer().print(f"{each.what}: lowest cosine {each.cosine:.7f}{remark}", soft_wrap=True)
    printer().print(f"{folder} is written; its README.md says how to load it.", soft_wrap=True)
    if push:
        printer().print(f"pushed to {upload(folder, push)}", soft_wrap=True)
