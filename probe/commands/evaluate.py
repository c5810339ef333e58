"""`probe evaluate`: a finished run, several as one, or embeddings that were made elsewhere, scored on any data.

probe evaluate out/runs/descriptor_linear_arcface_seed0_* --data sample --split val
probe evaluate mine.npy --ids mine.ids.txt --data sample
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probe.commands.options import (
    DEFAULT,
    Cache,
    Combined,
    DataRoot,
    Datasets,
    Device,
    DistanceChoice,
    IndexChoice,
    Json,
    Out,
    ProtocolChoice,
    Scored,
)
from probe.device import DeviceChoice
from probe.errors import UsageError
from probe.workspace import Workspace

if TYPE_CHECKING:
    from probe.evaluate import EmbeddingSource, EvaluationSettings
    from probe.search import Distance

FOLDERS_OF = (".parquet", ".h5", ".hdf5")


def evaluate(
    what: Annotated[
        list[Path],
        typer.Argument(
            metavar="WHAT", help="Folders of runs, or one file of embeddings: .npy, .npz, .h5, .parquet, UnED's .json."
        ),
    ],
    data: Annotated[str, typer.Option(help="What to score it on, as in `probe extract DATA`.")],
    split: Annotated[Scored, typer.Option(help="Which split to score.")] = Scored.test,
    combine: Annotated[
        Combined | None,
        typer.Option(help="Several runs as one: the mean of their weights, or their embeddings side by side."),
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(help="The ids of an .npy: one a line, .npy, .csv, .parquet; UnED's info_files for its .json."),
    ] = None,
    strip: Annotated[str, typer.Option(help="What to take off the front of each id.", show_default=False)] = "",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Such as R@10, mMP@5, mAP@100, MRR@10, mAP@R, R-precision; repeatable.",
            show_default="mMP@5, R@1, mAP@100",
        ),
    ] = None,
    index: Annotated[IndexChoice, typer.Option(help="All domains' images, or those of the query's.")] = (
        IndexChoice.merged
    ),
    protocol: Annotated[ProtocolChoice, typer.Option(help="official: as UnED's published code counts.")] = (
        ProtocolChoice.clean
    ),
    distance: Annotated[
        DistanceChoice | None, typer.Option(help="What similarity goes by.", show_default="the run's, or cosine")
    ] = None,
    neighbours: Annotated[
        int, typer.Option(min=0, help="How many of each query to write as Parquet and JSON; 0 for no such files.")
    ] = 10,
    json: Json = False,
    device: Device = DeviceChoice.auto,
    data_root: DataRoot = DEFAULT.data_root,
    datasets: Datasets = None,
    cache: Cache = DEFAULT.cache,
    out: Out = DEFAULT.out,
) -> None:
    """Score a finished head, several as one, or embeddings that were made elsewhere, on any data.

    A head needs features of the data by its backbone (probe extract); embeddings need nothing but their ids.
    """
    from probe.commands.answers import evaluation_answer, print_json
    from probe.evaluate import EvaluationSettings, evaluate_once
    from probe.metrics import METRICS, parse_metric, require_official
    from probe.progress import say
    from probe.report import QUIRKS, score_tables
    from probe.terminal import print_table, print_text, printer

    metrics = [parse_metric(name).name for name in metric or METRICS]
    if protocol == ProtocolChoice.official:
        require_official(metrics)
    workspace = Workspace(data_root, cache, out, datasets)
    scored_by = partial(EvaluationSettings, split=split.value, metrics=tuple(metrics), neighbours=neighbours)
    chosen = distance.value if distance else None
    files = [path for path in what if _holds_embeddings(path)]
    if files and (len(what) > 1 or combine):
        raise UsageError(f"{files[0]} is no folder of a run; embeddings are scored one file at a time, uncombined.")
    if files:
        settings = scored_by(distance=chosen or "cosine")
        source = _external_source(files[0], ids, strip, data, settings, workspace, device)
    else:
        if ids or strip:
            raise UsageError("--ids and --strip are for embeddings; a run knows the ids of its images.")
        source, chosen = _head_source(what, data, split.value, combine, chosen, workspace, device)
        settings = scored_by(distance=chosen)
    found = evaluate_once(source, settings, workspace.evaluations)
    title = f"{source.title} on {data}, {split} split"
    if json:
        print_json(evaluation_answer(title, data, found, metrics, index.names, protocol.names))
        return
    for grid in score_tables(title, found, metrics, index.names, protocol.names):
        print_table(grid, printer())
    if "official" in protocol.names:
        print_text(QUIRKS, printer())
        if without := [name for name in metrics if not parse_metric(name).has_official]:
            say(f"no official value of {', '.join(without)}: UnED's published evaluator has no such metric")
    say(f"written to {found.path}")


def _holds_embeddings(path: Path) -> bool:
    """A file is meant to, and a folder of such files that is not a run's; what is not there is told so as either."""
    if not path.is_dir():
        return True
    from probe.runs import RunDirectory

    inside = [entry for entry in path.iterdir() if entry.suffix in FOLDERS_OF or entry.name == "img_emb"]
    return bool(inside) and not RunDirectory(path).exists


def _head_source(
    paths: list[Path],
    data: str,
    split: str,
    combine: Combined | None,
    distance: "Distance | None",
    workspace: Workspace,
    device: DeviceChoice,
) -> tuple["EmbeddingSource", "Distance"]:
    from probe.evaluate import distance_of, features_for, head_source
    from probe.runs import RunDirectory

    runs = [RunDirectory(path) for path in paths]
    distance = distance or distance_of(runs)
    features = features_for(runs, data, split, workspace)
    return head_source(runs, features, split, combine.value if combine else None, device), distance


def _external_source(
    path: Path,
    ids: Path | None,
    strip: str,
    data: str,
    settings: "EvaluationSettings",
    workspace: Workspace,
    device: DeviceChoice,
) -> "EmbeddingSource":
    from probe.data import resolve_data
    from probe.evaluate import external_source

    manifest = resolve_data(data, workspace.data_root, datasets=workspace.datasets)
    return external_source(path, ids, strip, manifest, settings, device)
