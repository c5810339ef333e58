"""`probe embed`: images into vectors, by a finished run or what was exported of one.

probe embed out/runs/mobilenetv1_linear_arcface_seed0_* ~/photos --out photos.npy
"""

from pathlib import Path
from typing import Annotated

import typer

from probe.commands.options import Device, MovedWeights
from probe.device import DeviceChoice
from probe.precision import PrecisionChoice

SHOWN = 5


def embed(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A finished run, an exported folder, or one on the hub: owner/name[@revision]."
        ),
    ],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES", help="Files, folders, tars, patterns in quotes; `-`: a list on standard input."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="What to write: .npy (ids beside it), .parquet, or .h5.", show_default=False)
    ],
    weights: MovedWeights = None,
    precision: Annotated[
        PrecisionChoice | None, typer.Option(help="Of the forward pass.", show_default="that of the run's features")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images in a forward pass.")] = 64,
    device: Device = DeviceChoice.auto,
) -> None:
    """Embed images by a run's backbone and head, as unit vectors, and write them with their ids.

    Images that cannot be decoded are named and left out. An interrupted command goes on where it stopped.
    """
    from feature_cache import FeatureStore
    from probe.embed import HDF5, Collection, load, named_images
    from probe.progress import say

    collection = Collection(out)
    collection.require_writable()
    found = named_images(images)
    embedder = load(run, weights=weights, device=device, precision=precision)
    failures = collection.write(embedder, found, batch)
    rows = len(FeatureStore(out)) if out.suffix in HDF5 else len(found) - len(failures)
    others = f", which has {rows:,} in all" if rows > len(found) - len(failures) else ""
    say(f"{len(found) - len(failures):,} x {embedder.dim} in {out}{others}")
    if failures:
        say(f"{len(failures):,} could not be decoded and are not in it:")
    for failure in failures[:SHOWN]:
        say(f"  {failure.id}: {failure.reason}")
