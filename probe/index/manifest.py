"""What an index consists of: its manifest.json, one small file, written last, by which all others are found.

A state of the index is a manifest and the files that it names; it changes when the manifest is replaced, and never
otherwise. What it does not name was left by a writer that was killed, and the next one removes it.

    manifest = read_manifest(Path("photos.index"))
    manifest.rows
"""

import json
import re
from pathlib import Path
from typing import Annotated, Literal

import xxhash
from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt, ValidationError

from feature_cache import StoreError, require_regular, sync
from probe.errors import UsageError, first_line
from probe.precision import Precision
from probe.search import Distance
from probe.storage import write_whole
from probe.validation import Strict, describe

FILE = "manifest.json"
LARGEST = 64 << 20  # bytes that no manifest has
OUTGROWN = 0.95  # of what it kept: below, some points of mMP@5 are lost (docs/search.md)
OWN = re.compile(r"\.?\d{6,}(\.(removed-)?\d{6,}|\.wider|\.projection)?\.(npy|parquet|faiss)(\.[^.]*-\d+)?")
"""The names that a writer of an index gives, temporary ones too."""

Name = Annotated[str, Field(pattern=r"^\d{6,}(\.(removed-)?\d{6,})?$")]
ProjectionName = Annotated[str, Field(pattern=r"^\d{6,}\.projection$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
VectorType = Literal["float32", "float16"]


class EmbedderRecord(Strict):
    """What makes the vectors of an index."""

    run: str
    """The key of the run."""
    weights: dict[str, str]
    """SHA-256 of each backbone's weights; empty for a backbone that has none."""
    path: str
    """Where the run, or what was exported of it, lay when the index was made, which decides nothing."""
    precisions: dict[str, Precision] = Field(default_factory=dict)
    """Of each backbone's forward pass; empty in an index of before it was kept, which has those of the run."""
    key: str = ""
    """Of all that the vectors depend on, as `Embedder.key` has it; empty likewise, for that of the run."""

    @property
    def vectors(self) -> str:
        """What `probe embed` calls vectors of the same making."""
        return self.key or self.run

    @property
    def identity(self) -> tuple[str, frozenset[tuple[str, str]]]:
        return self.run, frozenset(self.weights.items())


class SourceRecord(Strict):
    """Something that was added, and that `update` looks at again."""

    kind: Literal["folder", "data", "files"]
    named: str
    """The folder; the data as they were named, or their manifest; empty for loose files."""
    roots: dict[str, str]
    """Of each image source, the folder that its images lie in."""


class RemovedRecord(Strict):
    """A file of the rows that are in a segment no longer, ascending."""

    name: Name
    digest: Digest
    rows: PositiveInt


class ApproximateRecord(Strict):
    """A structure of faiss over a segment, and how good it was when it was made."""

    name: Name
    digest: Digest
    kind: Literal["ivf", "ivfpq", "hnsw", "rabitq"]
    effort: PositiveInt
    """How much of it a query looks at: lists probed, or nodes kept."""
    wanted: float
    recall: float
    """Of the 10 nearest, the share that it found of what the exact search finds, on held-out queries."""
    queries: PositiveInt
    """So many."""
    queries_per_second: float
    threads: PositiveInt
    bytes: PositiveInt


class SegmentRecord(Strict):
    """Vectors in `name`.npy and the columns of the same rows, ordered by id, in `name`.parquet.

    Where the index has a projection of its own, what it projects is in `name`.wider.npy.
    """

    name: Name
    rows: PositiveInt
    vectors: Digest
    columns: Digest
    wider: Digest | None = None
    kept: Annotated[float, Field(ge=0)] | None = None
    """Of the squared lengths of the wider vectors, what the projection has kept: the mean of all rows."""
    removed: RemovedRecord | None = None
    approximate: ApproximateRecord | None = None

    @property
    def live(self) -> int:
        return self.rows - (self.removed.rows if self.removed else 0)

    @property
    def files(self) -> list[str]:
        removed = [f"{self.removed.name}.npy"] if self.removed else []
        approximate = [f"{self.approximate.name}.faiss"] if self.approximate else []
        wider = [f"{self.name}.wider.npy"] if self.wider else []
        return [f"{self.name}.npy", f"{self.name}.parquet", *wider, *removed, *approximate]


class FitRecord(Strict):
    """The last step of the head, fitted to the images of the index: a projection of wider vectors, in `name`.npy."""

    name: ProjectionName
    digest: Digest
    width: PositiveInt
    """Dimensions of what it projects."""
    rows: NonNegativeInt
    """That it was fitted to; 0 while it is the head's own, as there were not enough."""
    kept: Annotated[float, Field(ge=0)] = 0.0
    """Of the squared lengths of those, what it keeps."""


class NoMatchRecord(Strict):
    """How similar the best hits are of queries that the index has nothing of."""

    data: str
    split: str
    domain: str | None = None
    """The one that all queries are of."""
    rows: PositiveInt
    """Of the index when it was calibrated."""
    scores: tuple[FiniteFloat, ...]
    """Of each query, ascending."""
    classes: tuple[NonNegativeInt, ...] = ()
    """Of the same queries, by number; of none where it was calibrated before classes counted."""

    @property
    def promise(self) -> str:
        of = f"{self.data} ({', '.join(filter(None, (self.split, self.domain)))})"
        return (
            f"calibrated on {len(self.scores):,} queries of {len(set(self.classes)):,} classes of {of} among "
            f"{self.rows:,} rows: the promise is of queries of classes like these of which the index has nothing, and "
            "of an index of these rows"
        )


class IndexManifest(Strict):
    format: Literal["probe-index"] = "probe-index"
    version: Literal[1] = 1
    state: NonNegativeInt = 0
    """Counts the changes."""
    dim: PositiveInt
    distance: Distance
    dtype: VectorType
    embedder: EmbedderRecord | None = None
    """None for an index of vectors that were made elsewhere."""
    fit: FitRecord | None = None
    """None for an index of the vectors that its embedder gives."""
    sources: tuple[SourceRecord, ...] = ()
    segments: tuple[SegmentRecord, ...] = ()
    no_match: NoMatchRecord | None = None

    @property
    def rows(self) -> int:
        return sum(segment.live for segment in self.segments)

    @property
    def is_calibrated(self) -> bool:
        """Whether it has a threshold for the rows that it has now."""
        record = self.no_match
        return record is not None and record.rows == self.rows and len(record.classes) == len(record.scores)

    @property
    def is_fitted(self) -> bool:
        """Whether its projection was fitted to the rows that it has: then they are of the same commit."""
        made = [f"{segment.name}.projection" for segment in self.segments]
        return self.fit is not None and self.fit.rows == self.rows and made == [self.fit.name]

    @property
    def outgrown(self) -> bool:
        """Whether so much has come that its projection does not keep, that it should be fitted again."""
        if self.fit is None or not self.segments:
            return False
        kept = sum((segment.kept or 0) * segment.rows for segment in self.segments)
        return kept < OUTGROWN * self.fit.kept * sum(segment.rows for segment in self.segments)

    @property
    def files(self) -> list[str]:
        """All that the index has, but for the manifest itself."""
        projection = [f"{self.fit.name}.npy"] if self.fit else []
        return [*projection, *(file for segment in self.segments for file in segment.files)]

    @property
    def roots(self) -> dict[str, Path]:
        return {name: Path(root) for source in self.sources for name, root in source.roots.items()}

    def write(self, folder: Path) -> None:
        content = self.model_dump(mode="json")
        sync(folder)
        write_whole(folder / FILE, f"{json.dumps({'index': content, 'seal': _seal(content)}, indent=1)}\n".encode())
        sync(folder)


def read_manifest(folder: Path) -> IndexManifest:
    """Raises UsageError for what is no index, and for a manifest that is not what was written."""
    file = folder / FILE
    try:
        require_regular(file)
        if file.stat().st_size > LARGEST:
            raise ValueError("it is larger than any manifest")
        content = json.loads(file.read_bytes())
        if not isinstance(content, dict) or content.get("seal") != _seal(content.get("index")):
            raise ValueError("it is not what was written")
        return IndexManifest.model_validate(content["index"])
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no index at {folder}; make one with `probe index create`, or name another folder."
        ) from error
    except ValidationError as error:
        raise UsageError(f"{file} cannot be read: {describe(error, IndexManifest)}") from error
    except (ValueError, RecursionError, NotADirectoryError, StoreError) as error:
        raise UsageError(f"{file} cannot be read ({first_line(error)}); restore a copy, or make it again.") from error


def sweep(folder: Path, manifest: IndexManifest) -> None:
    """Removes what an index's writers have left that the manifest does not name."""
    for file in folder.iterdir():
        if OWN.fullmatch(file.name) and file.name not in manifest.files:
            file.unlink(missing_ok=True)


def _seal(content: object) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())
