"""Every kind of file that probe reads, and how: what the campaign damages.

A format of probe's own has digests: after damage to it, a result that differs and is not spoken of is wrong. A file of
others' has none, and may say something else when it is damaged: `plain`, another and simple reader, says what.

    FORMATS["store"].read()       # in a folder of the world
"""

import csv
import functools
import io
import json
import shutil
import tarfile
import tempfile
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml

from feature_cache import FeatureStore, StoreError, StoreWriter, read_foreign
from probe.backbones.catalogue import read_rows
from probe.backbones.checkpoint import read_state
from probe.data import tar
from probe.data.curation import read_curations
from probe.data.dataset import all_datasets, read_dataset
from probe.data.manifest import COLUMNS, read_manifest
from probe.errors import ProbeError
from probe.evaluate.embeddings import read_embeddings
from probe.index import Index
from probe.recipes import read_recipe
from probe.runs import RunCheckpoint, ScoredFolder
from tests.faults.process import as_command, captured, content
from tests.faults.world import EVALUATE, FITTED, INDEX, RUN, STORE, annotation_files, written_out

SCORE = f"evaluate {RUN} --data photos"
CANDIDATES = "out/runs/.*.partial/candidates.json"
VARYING = ("environment.json", "digests.json")  # hold times


@dataclass(frozen=True)
class Reading:
    """What came of reading."""

    code: int
    text: str
    """What was said, on both streams."""
    result: object = None


@dataclass(frozen=True)
class Format:
    """A kind of file."""

    file: str
    """Where the world has one, a glob."""
    read: Callable[[], Reading]
    """Reads it, in a copy of the world."""
    step: str = "reported"
    """Of the world (tests/faults/world.py)."""
    plain: Callable[[Path], object] | None = None
    """What a file of others' says, by another reader; None for a format of probe's own."""
    exact: bool = False
    """Whether `plain` gives just what `read` does."""


def says(words: str, *outputs: str, fresh: tuple[str, ...] = ()) -> Callable[[], Reading]:
    """A command: its standard output and what it writes. `fresh`: what is removed before."""

    def read() -> Reading:
        line = written_out(words, Path())
        for pattern in (*fresh, *outputs):
            for path in Path().glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            with captured(out, err):
                code = as_command(line)
            printed, said = content(out), content(err)
        return Reading(code, printed + said, (printed, written(*outputs)))

    return read


def written(*outputs: str) -> dict[str, bytes]:
    """The files that these patterns find, without those that hold times."""
    found = [path for pattern in outputs for path in Path().glob(pattern)]
    files = [file for path in found for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    return {str(file): file.read_bytes() for file in files if file.is_file() and file.name not in VARYING}


def gives(read: Callable[[], object]) -> Callable[[], Reading]:
    """A function of probe's, whose errors a command would print; what libraries say beside them counts too."""

    def reading() -> Reading:
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            code, problem, result = 0, "", None
            with captured(out, err):
                try:
                    result = read()
                except (ProbeError, StoreError) as error:
                    code, problem = 1, f"error: {error}"
                except MemoryError:
                    code, problem = 1, "error: there is not enough memory"
            return Reading(code, content(out) + content(err) + problem, result)

    return reading


def whole_store(path: Path) -> object:
    found = FeatureStore(path)
    columns = (found.load(), found.sizes, found.contents)
    return found.ids, [column.tobytes() for column in columns], found.failed, found.spec


def whole_indexes() -> object:
    found = []
    for path in (INDEX, FITTED):
        index = Index.open(path)
        ids, projection = index.frame["id"].to_list(), index.state.projection
        vectors = index.vectors(ids).tobytes(), index.state.embeddings(ids).tobytes()
        found.append((index.frame.rows(), vectors, projection and projection.matrix.tobytes(), index.manifest))
    return found


def merged_part() -> object:
    path = Path(STORE)
    shutil.rmtree(path.parent)
    shutil.copytree("parts", path.with_name(f"{path.name}.parts"))
    with StoreWriter.resume(path) as writer:
        writer.finish()
    return whole_store(path)


def imported(path: str, **options: Any) -> object:
    target = Path("imported/store.h5")
    shutil.rmtree(target.parent, ignore_errors=True)
    found = read_foreign(path, dtype="float32", **options)
    with StoreWriter(target, found.spec, dtype=found.dtype) as writer:
        found.write(writer)
    stored = FeatureStore(target)
    return _rows(stored.ids, stored.load())


def embedded(path: str, ids: str | None = None) -> object:
    manifest = read_manifest(Path("photos/manifest.csv"))
    found = read_embeddings(Path(path), manifest, ids=None if ids is None else Path(ids))
    vectors = found.vectors("test", "cosine")
    return vectors.block(0, len(vectors)).numpy().tobytes()


def rows_of(name: str) -> object:
    return read_dataset(name, Path("published")).frame.rows()


def in_tar() -> object:
    path = Path("shard.tar")
    return {name: tar.read_member(path, name) for name in tar.members(path)}


def looked_up() -> object:
    """The members of a tar, as a process finds them that has not looked at it before."""
    tar._members.cache_clear()
    return tar.members(Path("shards/many.tar"))


def choosing() -> object:
    """What heads have scored, as the run that goes on with their choice reads it."""
    (file,) = Path().glob(CANDIDATES)
    return RunCheckpoint(file.parent, _key_of_choice()).candidates("cpu")


@functools.cache
def _key_of_choice() -> str:
    """From the file when it is whole, as it is read first."""
    return json.loads(next(Path().glob(CANDIDATES)).read_bytes())["key"]


def queries() -> object:
    (run,) = Path().glob(RUN)
    folder = ScoredFolder(run)
    indexes = ("merged", "separate")
    return [(folder.values(index, "mMP@5").values.tobytes(), folder.per_query(index).rows()) for index in indexes]


def weights(path: str) -> object:
    return {name: value.numpy().tobytes() for name, value in sorted(read_state(Path(path)).items())}


def _rows(ids: list[str], features: np.ndarray) -> dict[str, bytes]:
    return {image: row.tobytes() for image, row in zip(ids, features.astype(np.float32), strict=True)}


def plain_npy(path: Path) -> object:
    return _rows(Path("clip.txt").read_text().splitlines(), np.load(path))


def plain_ids(path: Path) -> object:
    text = path.read_text(encoding="utf-8-sig")
    ids = json.loads(text) if path.suffix == ".json" else text.removesuffix("\n").split("\n")
    return _rows(ids, np.load("clip.npy"))


def plain_hdf5(path: Path) -> object:
    with h5py.File(path) as file:
        names = file["index"].asstr()[:]  # type: ignore[union-attr]
        return _rows(list(names), file["features"][:])  # type: ignore[index]


def plain_csv(path: Path) -> object:
    """Rows as a manifest has them."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    return [tuple(unicodedata.normalize("NFC", row[name]) for name in COLUMNS) for row in rows]


def plain_tar(path: Path) -> object:
    """Read header by header to the file's end, and strictly."""
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes()), mode="r:", ignore_zeros=True) as file:
        return {member.name: file.extractfile(member).read() for member in file if member.isfile()}  # type: ignore


def plain_yaml(path: Path) -> object:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def plain_bytes(path: Path) -> object:
    """For what may say anything: other bytes are another content."""
    return path.read_bytes()


OWN = {
    "store": Format(STORE, gives(functools.partial(whole_store, Path(STORE)))),
    "store, as exported": Format(STORE, says("cache export photos/descriptor exported.npy", "exported*")),
    "part": Format("parts/000000.h5", gives(merged_part), "interrupted"),
    "metrics.json": Format(f"{RUN}/metrics.json", says("table recipe.yaml", "out/tables")),
    "config.yaml": Format(f"{RUN}/config.yaml", says(SCORE, fresh=("out/evaluations",))),
    "environment.json": Format(f"{RUN}/environment.json", says("report recipe.yaml", "out/report.html")),
    "digests.json": Format(f"{RUN}/digests.json", says("table recipe.yaml", "out/tables")),
    "per_query.parquet": Format(f"{RUN}/per_query*.parquet", gives(queries)),
    "history.jsonl": Format(f"{RUN}/history.jsonl", says("report recipe.yaml", "out/report.html")),
    "head.safetensors": Format(f"{RUN}/head.safetensors", says(SCORE, fresh=("out/evaluations",))),
    "checkpoint": Format(
        "out/runs/.*.partial/checkpoint.safetensors",
        says("fit recipe.yaml --row ArcFace --seeds 0", RUN),
        "interrupted",
    ),
    "candidates.json": Format(CANDIDATES, gives(choosing), "choosing"),
    "evaluation": Format("out/evaluations/*/[!n]*", says(EVALUATE)),
    "significance": Format("out/tables/.significance/*.json", says("table recipe.yaml", "out/tables/recipe.*")),
    "curated manifest": Format(
        "data/fewer/manifest.parquet",
        gives(lambda: read_manifest(Path("data/fewer/manifest.parquet")).frame.rows()),
        plain=plain_bytes,
    ),
    "curation.json": Format(
        "data/fewer/curation.json",
        gives(lambda: read_manifest(Path("data/fewer/manifest.parquet")).frame.rows()),
    ),
    "index": Format("*.index/manifest.json", gives(whole_indexes)),
    "index, projection": Format(f"{FITTED}/*.projection.npy", gives(whole_indexes)),
    "index, wider vectors": Format(f"{FITTED}/*.wider.npy", gives(whole_indexes)),
    "index, vectors": Format("*.index/??????.npy", gives(whole_indexes)),
    "index, columns": Format("*.index/*.parquet", gives(whole_indexes)),
    "index, removed rows": Format(f"{INDEX}/*.removed-*.npy", gives(whole_indexes)),
    "tar index": Format("features/tars/*.index", gives(looked_up)),
    "speeds": Format("features/speeds.jsonl", says("cache list")),
}
OTHERS = {
    "manifest, csv": Format(
        "photos/manifest.csv",
        gives(lambda: read_manifest(Path("photos/manifest.csv")).frame.rows()),
        plain=plain_csv,
        exact=True,
    ),
    "manifest, parquet": Format(
        "photos.parquet", gives(lambda: read_manifest(Path("photos.parquet")).frame.rows()), plain=plain_bytes
    ),
    "features, npy": Format(
        "clip.npy", gives(functools.partial(imported, "clip.npy", ids="clip.txt")), plain=plain_npy, exact=True
    ),
    "ids, txt": Format(
        "clip.txt", gives(functools.partial(imported, "clip.npy", ids="clip.txt")), plain=plain_ids, exact=True
    ),
    "ids, json": Format(
        "clip.json", gives(functools.partial(imported, "clip.npy", ids="clip.json")), plain=plain_ids, exact=True
    ),
    "features, hdf5": Format(
        "clip.hdf5", gives(functools.partial(imported, "clip.hdf5")), plain=plain_hdf5, exact=True
    ),
    "features, parquet": Format("clip.parquet", gives(functools.partial(imported, "clip.parquet")), plain=plain_bytes),
    "embeddings, npz": Format("clip.npz", gives(functools.partial(embedded, "clip.npz")), plain=plain_bytes),
    "embeddings, npy": Format(
        "clip.npy", gives(functools.partial(embedded, "clip.npy", "clip.txt")), plain=plain_bytes
    ),
    "weights, pt": Format("weights.pt", gives(functools.partial(weights, "weights.pt")), plain=plain_bytes),
    "weights, safetensors": Format(
        "weights.safetensors", gives(functools.partial(weights, "weights.safetensors")), plain=plain_bytes
    ),
    "tar": Format("shard.tar", gives(in_tar), plain=plain_tar, exact=True),
    "recipe": Format("recipe.yaml", gives(lambda: repr(read_recipe(Path("recipe.yaml")))), plain=plain_yaml),
    "curation": Format("curation.yaml", gives(lambda: repr(read_curations(Path("curation.yaml")))), plain=plain_yaml),
    "data sets": Format("datasets.yaml", gives(lambda: repr(all_datasets(Path("datasets.yaml")))), plain=plain_yaml),
    "catalogue": Format("catalogue.yaml", gives(lambda: repr(read_rows(Path("catalogue.yaml")))), plain=plain_yaml),
}
PUBLISHED_FORMATS = {
    f"annotations, {kind}": Format(f"published/{file}", gives(functools.partial(rows_of, name)), plain=plain_bytes)
    for kind, (name, file) in annotation_files().items()
}
FORMATS: dict[str, Format] = OWN | OTHERS | PUBLISHED_FORMATS
