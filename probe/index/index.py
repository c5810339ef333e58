"""An index on disk: what is searched, how it changes, and what it says of itself.

A change is committed by one small file, written last: a process that is killed loses at most the segment in hand. Who
has an index open sees the state that it opened, whole, whatever is changed meanwhile.

    index = Index.create("photos.index", "out/runs/mobilenetv1_discriminant_seed0_pocket_0a1b2c3d4e5f")
    index.add("photos/")
    index.search("query.jpg", k=10).frame
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self

import numpy as np
import polars as pl
from PIL import Image

from feature_cache import writer_lock
from probe.embed import Embedder, GivenImage, Images, load
from probe.errors import UsageError
from probe.index.approximate import build
from probe.index.embedders import Embedders, last_step_of, record_of
from probe.index.external import AT_ONCE, embedded_rows, rows_of
from probe.index.following import Changes, follow, follow_again
from probe.index.hits import FIRST, Hits
from probe.index.kinds import FREE, KINDS, Choice, KindName, choose, require_kind
from probe.index.manifest import IndexManifest, NoMatchRecord, VectorType, read_manifest
from probe.index.no_match import calibrated, threshold
from probe.index.projection import write_projection
from probe.index.query import Query, queries_of, vectors_of
from probe.index.searching import is_exact, search_state, with_same_files
from probe.index.sources import list_source, place_of
from probe.index.state import State
from probe.index.writer import Writer, writing
from probe.memory import free_memory
from probe.search import Distance
from probe.storage import new_folder
from probe.workspace import Workspace

SHOWN = 5


class Index:
    """Made by `create` and `open`; `path`: its folder. It may be searched from any thread.

    Raises UsageError for what is no index, and ProbeError for one that is damaged, when what is damaged is read.
    """

    def __init__(
        self, path: Path, run: str | Path | None, weights: str | Path | None, device: str, precision: str | None
    ) -> None:
        self.path = path
        self.state = State.read(path)
        self._embedders = Embedders(path, self.manifest.embedder, run, weights, device, precision)

    @classmethod
    def create(
        cls,
        path: str | Path,
        run: str | Path | None = None,
        *,
        dim: int | None = None,
        distance: Distance = "cosine",
        dtype: VectorType = "float32",
        weights: str | Path | None = None,
        device: str = "auto",
        precision: str | None = None,
        fit_to_collection: bool = False,
    ) -> Self:
        """An empty index, in a folder that is not there yet.

        `run`: a finished run, or a folder that `probe export` wrote, by which images are embedded; without one, `dim`
        and `distance` of the vectors that others have made. `dtype`: how vectors are stored, and so compared.
        `precision` of the forward pass, which the index keeps: fp32, bf16, fp16 or auto; by default, that of the run's
        features.
        `fit_to_collection`: the last step of the run's head, if it does without labels, is fitted to the images of the
        index, once `add` or `update` has brought enough, and again by `update(refit=True)`.
        """
        path = Path(path).expanduser()
        if (run is None) == (dim is None):
            raise UsageError(
                "an index is of a run, which embeds images, or of vectors of a `dim`; name one of the two."
            )
        record = None if run is None else record_of(Path(run).expanduser())
        if record and run:
            embedder = load(run, weights=weights, device=device, precision=precision)
            dim, distance = embedder.dim, embedder.distance
            record = record.model_copy(update={"precisions": embedder.precisions, "key": embedder.key})
        elif fit_to_collection:
            raise UsageError("vectors that were made elsewhere have no head to be fitted; name a run.")
        with writer_lock(path):
            if path.exists():
                raise UsageError(f"{path} exists already; name another folder, or delete it.")
            with new_folder(path) as folder:
                fit = None
                if fit_to_collection:
                    projection = last_step_of(embedder).projection.numpy()
                    fit = write_projection(folder, "000000.projection", projection, rows=0)
                IndexManifest(dim=dim or 0, distance=distance, dtype=dtype, embedder=record, fit=fit).write(folder)
        return cls.open(path, weights=weights, device=device)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        run: str | Path | None = None,
        weights: str | Path | None = None,
        device: str = "auto",
        precision: str | None = None,
    ) -> Self:
        """The index in its present state. `run`: where the run is, if it is not any more where it was. It embeds in the
        precision of its vectors; raises UsageError for another `precision`."""
        return cls(Path(path).expanduser(), run, weights, device, precision)

    # ---- what is in it ----

    def __len__(self) -> int:
        return self.state.manifest.rows

    @property
    def manifest(self) -> IndexManifest:
        return self.state.manifest

    @property
    def frame(self) -> pl.DataFrame:
        """(N, ...) `id`, and what is known of each row: `source`, `bytes`, `digest`, `width`, `height` of the image
        file, `label`, `domain` and other columns; ordered by id."""
        return self.state.frame

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        """(n, d) float32: the vectors of these rows. Raises UsageError for ids that are not there."""
        return self.state.vectors(ids)

    def image(self, id: str) -> Image.Image:
        """An image of the index, RGB and upright, from its file.

        Raises UsageError for an id that is not there or has no image, and ProbeError for a file that cannot be read.
        """
        rows = self.state.rows_with(pl.Series("id", [id], pl.String))
        if rows.is_empty():
            raise UsageError(f"{self.path} has no '{id}'; `probe index info` says what it has.")
        return GivenImage(id, place_of(id, rows.to_dicts()[0].get("source"), self.manifest.roots)).decode()

    @property
    def embedder(self) -> Embedder:
        """What makes its vectors, by its own last step where it is fitted to its images. Raises UsageError where the
        run is not there, or is another one."""
        return self._embedders.of(self.state)

    def verify(self) -> None:
        """Reads every byte. Raises ProbeError where one is not what was written."""
        for part in (*self.state.segments, *([self.state.projection] if self.state.projection else [])):
            part.check()

    def refresh(self) -> None:
        """Goes over to the newest state, which another process may have committed. Searches under way end in theirs."""
        if read_manifest(self.path) != self.manifest:
            self.state = State.read(self.path)

    # ---- search ----

    def search(
        self,
        queries: Images | Sequence[Query] | np.ndarray,
        k: int = 10,
        *,
        where: str | None = None,
        exclude_self: bool = False,
        exclude: Sequence[Collection[str]] | None = None,
        names: Sequence[str] | None = None,
        exact: bool = False,
        false_match_rate: float | None = None,
    ) -> Hits:
        """The k nearest rows of each query; equal similarities are ordered by id.

        They are found exactly, unless the index has an approximate structure (`build`): then `exact` asks for it, and
        with `where` they are found exactly as well. Similarities are exact always.

        `queries`: images as `Embedder.encode` takes them, `Query`s, or (Q, d) vectors of floats. `where`: a condition
        on the columns in Polars' SQL, `domain = 'shoes' AND width > 300`; only these rows are searched. `exclude_self`:
        no file of the query, wherever it lies. `exclude`: of each query, ids that are not for it. `names`: what the
        queries are called. `false_match_rate`: hits get a column `match`, which is false below a threshold that at most
        this share of queries surpass of which the index has nothing (`calibrate` says which queries). Raises UsageError
        for a condition that cannot be read, for another dimension, and where the index is not calibrated.
        """
        state, dim = self.state, self.manifest.dim
        if isinstance(queries, np.ndarray) and queries.dtype.kind == "f":
            if exclude_self:
                raise UsageError("vectors are of no file that could be left out; name ids with `exclude`.")
            vectors = np.atleast_2d(queries)
            called = [str(number) for number in range(len(vectors))]
        else:
            asked = queries_of(queries)
            called = [query.name for query in asked]
            vectors = vectors_of(asked, self._embedders.of(state)) if asked else np.empty((0, dim), np.float32)
            exclude = with_same_files(state, asked, exclude) if exclude_self else exclude
        if vectors.ndim != 2 or vectors.shape[1] != dim:
            raise UsageError(f"queries have shape {vectors.shape}; those of {self.path} are (Q, {dim}).")
        if exclude is not None and len(exclude) != len(vectors):
            raise UsageError(
                f"`exclude` is of {len(exclude)} queries, and there are {len(vectors)}; give each its own."
            )
        frame = search_state(state, vectors, k, where, exclude or (), exact)
        if false_match_rate is not None:
            limit = threshold(state, false_match_rate)
            frame = frame.insert_column(len(FIRST), (frame["similarity"] > limit).alias("match"))
        return Hits(tuple(names or called), frame, exact=is_exact(state, where, exact))

    # ---- changes ----

    def add(
        self, *sources: str | Path, data_root: Path | None = None, batch_size: int = 64, show_progress: bool = False
    ) -> Changes:
        """Adds the images of folders, data sets, manifests, tars and files; what is there already, and is the same, is
        left as it is. `data_root`: where data sets lie that are named without a path.

        Images that cannot be decoded are told apart. Interrupted, the same call goes on where it stopped.
        """
        root = data_root or Workspace.of_user().data_root
        listings = [list_source(str(source), root) for source in sources]
        with self._changing() as writer:
            changes = follow(writer, listings, self._embedders.adding(writer.state), batch_size, show_progress)
            writer.fit_first()
            return changes

    def update(
        self,
        *,
        data_root: Path | None = None,
        batch_size: int = 64,
        show_progress: bool = False,
        refit: bool = False,
    ) -> Changes:
        """Looks at the sources again: what is new is added, what has another content or other columns is replaced, what
        is gone is removed. `refit`: then the last step is fitted to all images that are there, none of which is
        embedded again for it. Raises UsageError where the folder of a source is gone, and for a `refit` of an index
        that is not fitted to its collection, or has too few images."""
        if refit and self.manifest.fit is None:
            raise UsageError(f"{self.path} is not fitted to its collection; make one that is, by `fit_to_collection`.")
        root = data_root or Workspace.of_user().data_root
        with self._changing() as writer:
            embedder = self._embedders.adding(writer.state)
            changes = follow_again(writer, embedder, root, batch_size, show_progress)
            writer.fit() if refit else writer.fit_first()
            return changes

    def add_vectors(self, ids: Sequence[str], vectors: np.ndarray, columns: pl.DataFrame | None = None) -> None:
        """Adds rows, or puts them in the place of those with these ids; for an index without an embedder.

        vectors (N, d) floats; columns (N, ...): what else is known of each, by which may be searched. Raises UsageError
        for vectors that cannot be compared, and for an index that makes its own.
        """
        if self.manifest.embedder is not None:
            raise UsageError(f"{self.path} makes its vectors itself, by the run that it is of; add images.")
        frame = rows_of(ids, vectors, columns)
        with self._changing() as writer:
            for start in range(0, len(frame), AT_ONCE):
                writer.put(frame[start : start + AT_ONCE], vectors[start : start + AT_ONCE])

    def add_embedded(self, store: str | Path) -> int:
        """Adds the embeddings that `probe embed` wrote as HDF5, under their ids and without image files; their number.

        Raises UsageError for those of another run than the one of this index, or in another precision.
        """
        added = 0
        with self._changing() as writer:
            for frame, vectors in embedded_rows(Path(store), self.path, writer.state.manifest):
                writer.put(frame, vectors)
                added += len(frame)
        return added

    def remove(self, ids: Sequence[str]) -> None:
        """Raises UsageError, and removes nothing, where one is not there."""
        wanted = pl.Series("id", list(ids), pl.String).unique()
        with self._changing() as writer:
            missing = wanted.filter(~wanted.is_in(writer.state.rows_with(wanted)["id"].implode())).sort()
            if len(missing):
                raise UsageError(
                    f"{self.path} has no {len(missing):,} of these {len(wanted):,} ids "
                    f"({', '.join(missing[:SHOWN])}); nothing is removed."
                )
            writer.remove(wanted)

    def remove_source(self, name: str) -> int:
        """Removes everything of a source, which `update` looks at no longer. Returns the number of rows."""
        with self._changing() as writer:
            return writer.forget(name)

    def build(
        self,
        kind: KindName | Literal["auto"] = "auto",
        *,
        recall: float = 0.95,
        memory: int | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> Choice:
        """Makes an approximate structure over the rows that are there, by which they are searched from then on; what is
        added later is searched exactly, beside it. `flat` takes the structure away.

        `auto` chooses by the number of rows and `memory` in bytes, by default half of what is free. The structure is
        tuned to the `recall` of the 10 nearest that is wanted, on held-out queries; what was measured is kept in the
        manifest. Raises UsageError for an unknown kind, for fewer than 10,000 rows, and where faiss is not installed.
        """
        require_kind(kind)
        if not 0 < recall <= 1:
            raise UsageError(f"a recall of {recall} cannot be wanted; name a share above 0, of 1 at most.")
        with self._changing() as writer:
            allowed = int(FREE * free_memory()) if memory is None else memory
            asked = Choice(kind, "as asked") if kind != "auto" else choose(len(self), self.manifest.dim, allowed)
            say(f"{asked.kind}: {asked.reason}")
            if asked.kind == "flat":
                writer.compact(anew=writer.state.is_approximate)
                return asked
            writer.compact(anew=False)
            if not writer.state.segments:
                raise UsageError(f"{self.path} has no rows; add some first.")
            segment = writer.state.segments[0]
            name = f"{segment.record.name}.{writer.state.manifest.state + 1:06d}"
            record = build(segment, KINDS[asked.kind], self.path, name, recall, self.manifest.distance, say)
            writer.commit([segment.record.model_copy(update={"approximate": record})])
            return asked

    def calibrate(
        self,
        data: str,
        *,
        split: str = "val",
        domain: str | None = None,
        data_root: Path | None = None,
        show_progress: bool = False,
    ) -> NoMatchRecord:
        """Learns how similar the best hits are of queries of which the index has nothing: images of a data set, each
        searched for among the rows that are not of its class. At most 1,000 of them are drawn, at random. `domain`: of
        this one alone.

        Do it again when the index has grown. Raises UsageError for data without images of that split, and for an
        empty index.
        """
        root = data_root or Workspace.of_user().data_root
        with self._changing() as writer:
            state = writer.state
            record = calibrated(state, self._embedders.of(state), data, split, domain, root, show_progress)
            if record != state.manifest.no_match:
                writer.commit(state.manifest.segments, no_match=record)
            return record

    def compact(self) -> None:
        """Writes all rows as one segment, without those that are removed."""
        with self._changing() as writer:
            writer.compact()

    @contextmanager
    def _changing(self) -> Iterator[Writer]:
        with writing(self.path) as writer:
            try:
                yield writer
            finally:
                self.state = writer.state
