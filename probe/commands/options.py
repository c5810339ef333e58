"""Options that several commands share: their type, environment variable, default and help."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from probe.device import DeviceChoice
from probe.workspace import Workspace, or_bundled


class StoredAs(StrEnum):
    """What `--dtype` takes."""

    float16 = "float16"
    float32 = "float32"


class Scored(StrEnum):
    """What `--split` of `probe evaluate` takes."""

    val = "val"
    test = "test"


class Split(StrEnum):
    """What `--split` of `probe extract` takes."""

    train = "train"
    val = "val"
    test = "test"


class Combined(StrEnum):
    """What `--combine` takes."""

    soup = "soup"
    ensemble = "ensemble"


class DistanceChoice(StrEnum):
    """What `--distance` takes."""

    cosine = "cosine"
    euclidean = "euclidean"


class IndexChoice(StrEnum):
    """What `--index` takes."""

    merged = "merged"
    separate = "separate"
    both = "both"

    @property
    def names(self) -> list[str]:
        return ["merged", "separate"] if self is IndexChoice.both else [self.value]


class ProtocolChoice(StrEnum):
    """What `--protocol` takes."""

    clean = "clean"
    official = "official"
    both = "both"

    @property
    def names(self) -> list[str]:
        return ["clean", "official"] if self is ProtocolChoice.both else [self.value]


class ViewChoice(StrEnum):
    """What `--views` takes."""

    train = "train"
    test = "test"
    inference = "inference"


DEFAULT = Workspace.of_user()

DataRoot = Annotated[
    Path,
    typer.Option(
        envvar="PROBE_DATA_ROOT",
        help="Where data sets lie that are named without a path.",
        show_default="~/.local/share/probe/data",
    ),
]
Datasets = Annotated[
    Path | None,
    typer.Option(envvar="PROBE_DATASETS", help="A YAML file with data sets of your own (docs/datasets.md)."),
]
Catalogue = Annotated[
    Path | None,
    typer.Option(
        help="A YAML file with a `backbones:` section of your own.", callback=lambda path: path and or_bundled(path)
    ),
]
MovedWeights = Annotated[
    Path | None, typer.Option("--weights", help="The backbone's checkpoint, where it is not where it was.")
]
Cache = Annotated[
    Path,
    typer.Option(envvar="PROBE_CACHE", help="Where feature stores lie.", show_default="~/.local/share/probe/features"),
]
Out = Annotated[Path, typer.Option(envvar="PROBE_OUT", help="Where runs, evaluations and tables go.")]
Device = Annotated[DeviceChoice, typer.Option(help="auto takes CUDA where there is one, and says so.")]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON (docs/json.md).")]
Recipes = Annotated[
    list[Path] | None,
    typer.Argument(metavar="RECIPE", help="Recipes by name or file, or folders of them.", show_default="recipes"),
]
MachineName = Annotated[
    str | None,
    typer.Option(
        "--machine", "--plan", metavar="NAME", help="Estimate times for another machine: cpu, t4, a100, h100, ..."
    ),
]
Gpus = Annotated[int, typer.Option(min=1, help="Devices of that kind, one command on each.")]
