"""The embeddings of many images as a file: .npy with ids, Parquet, or HDF5; interrupted, it goes on where it stopped.

While it is made, the work lies in a feature store: for HDF5 that is the file itself, else it is in a folder beside it.

    Collection(Path("photos.npy")).write(embedder, named_images(["photos/"]))
"""

import glob
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from feature_cache import Failure, FeatureStore, Rows, StoreError, StoreWriter, export_npy, written_files
from probe.embed.embedder import EmbeddedBatch, Embedder
from probe.embed.images import GivenImage, UnreadError, list_images
from probe.errors import ProbeError, UsageError
from probe.progress import say, track
from probe.storage import replacing_file

HDF5 = (".h5", ".hdf5")
SUFFIXES = (".npy", ".parquet", *HDF5)
PART = 1024  # images that a crash can cost at most, in whole batches
STDIN = "-"


def named_images(words: Sequence[str]) -> list[GivenImage]:
    """The images that are named on a command line: files, folders, tars, patterns, and `-` for a list of them on
    standard input, one a line, or with a NUL after each as `find -print0` writes it. Each once.

    Of a single folder, their names are the paths below it, as in a manifest. Raises UsageError for what is not there.
    """
    paths = [path for word in words for path in _paths(word)]
    images = {image.name: image for image in list_images(paths)}
    if len(paths) == 1 and Path(paths[0]).expanduser().is_dir():
        images = {image.content[1]: image for image in images.values() if isinstance(image.content, tuple)}
    return [replace(image, name=name) for name, image in images.items()]


def _paths(word: str) -> Iterator[str]:
    if word == STDIN:
        yield from _listed(os.fsdecode(sys.stdin.buffer.read()))
    elif Path(word).exists() or not glob.has_magic(word):
        yield word
    else:
        found = sorted(glob.glob(word, recursive=True))  # noqa: PTH207 (absolute patterns too)
        if not found:
            bracket = "; where [ is part of a name, write [[]" if "[" in word else ""
            raise UsageError(f"nothing matches {word}; name files, folders or tars{bracket}.")
        yield from found


def _listed(text: str) -> Iterator[str]:
    yield from filter(None, text.split("\0") if "\0" in text else text.splitlines())


@dataclass(frozen=True)
class Collection:
    """The file of some images' embeddings."""

    path: Path
    """Its suffix says what it becomes."""

    def require_writable(self) -> None:
        """Raises UsageError for another suffix, and for a file that is there already."""
        if self.path.suffix not in SUFFIXES:
            raise UsageError(f"--out {self.path} ends in none of {', '.join(SUFFIXES)}; name a file that does.")
        if self.path.suffix not in HDF5 and self.path.exists():
            raise UsageError(f"--out {self.path} exists already; delete it, or name another file.")

    def write(self, embedder: Embedder, images: Sequence[GivenImage], batch_size: int = 64) -> list[Failure]:
        """Writes the file, and returns the images that could not be decoded, which are not in it.

        Images that could not be decoded before are tried again. Raises ProbeError where there is no other image, where
        one has changed since an HDF5 file got its embedding, and where some could not be read: the others' embeddings
        are kept for the next time. UsageError for no images, and for names that the file cannot hold.
        """
        self.require_writable()
        if not images:
            raise UsageError("no image is named; name files, folders, tars or patterns.")
        self._require_list(images)
        self._compare(embedder, images)
        unread: list[UnreadError] = []
        with StoreWriter(self._store, {"run": embedder.key}, dtype="float32", retry_failed=True) as writer:
            todo = [image for image in images if image.name not in writer.done]
            if len(todo) < len(images):
                say(f"{len(images) - len(todo):,} of {len(images):,} images are embedded already")
            with track("embed", len(todo), "images") as advance:
                for part in _parts(embedder.embed(todo, batch_size)):
                    writer.add(*_rows(part))
                    unread += [error for batch in part for _, error in batch.unread]
                    advance(sum(len(batch.images) + len(batch.failures) + len(batch.unread) for batch in part))
            writer.finish()
        if unread:
            raise ProbeError(
                f"{len(unread):,} of {len(images):,} images could not be read; the first: {unread[0]} What is embedded "
                "is kept."
            )
        store = FeatureStore(self._store)
        names = {image.name for image in images}
        failed = [failure for failure in store.failed if failure.id in names]
        if not len(store):
            raise ProbeError(f"none of {len(images):,} images could be decoded; {failed[0].id}: {failed[0].reason}.")
        self._export(store)
        return failed

    def _require_list(self, images: Sequence[GivenImage]) -> None:
        """Raises UsageError where the list of ids beside an array could not be written in the end."""
        if self.path.suffix != ".npy":
            return
        names, ids = {image.name for image in images}, self.path.with_suffix(".ids.txt")
        if broken := [name for name in names if "\n" in name or "\r" in name]:
            raise UsageError(f"the name {broken[0]!r} has a line break, which a list of ids cannot hold; rename it.")
        # those of a killed command are of these images
        if ids.exists() and not set(ids.read_text(encoding="utf-8", errors="replace").splitlines()) <= names:
            raise UsageError(f"{ids}, where the ids go, exists already; delete it, or name another file.")

    def _compare(self, embedder: Embedder, images: Sequence[GivenImage]) -> None:
        """Work for other images, for other files of their names, or of another run is done anew; a user's own file is
        not."""
        done: dict[str, int] = {}
        try:
            stores = [FeatureStore(file) for file in written_files(self._store)]
            for store in stores:
                done |= dict(zip(store.ids, store.contents.tolist(), strict=True))
        except StoreError as error:
            if self.path.suffix not in HDF5:
                raise
            raise UsageError(f"--out {self.path} is no file of embeddings; name another. {error}") from error
        of_another_run = any(store.spec.get("run") != embedder.key for store in stores)
        changed = [image.name for image in images if done.get(image.name) and image.digest != done[image.name]]
        if self.path.suffix not in HDF5:
            if of_another_run or changed or done.keys() - {image.name for image in images}:
                say(f"{self._work} has other embeddings, and is made anew")
                shutil.rmtree(self._work)
        elif of_another_run:
            raise UsageError(f"--out {self.path} holds no embeddings of this run; delete it, or name another file.")
        elif changed:
            raise ProbeError(
                f"{len(changed):,} of the images in {self.path} have changed since they were embedded, {changed[0]} "
                "the first; delete it, or name another file."
            )

    @property
    def _store(self) -> Path:
        return self.path if self.path.suffix in HDF5 else self._work / "embeddings.h5"

    @property
    def _work(self) -> Path:
        return self.path.with_name(f".{self.path.name}.partial")

    def _export(self, store: FeatureStore) -> None:
        if self.path.suffix == ".npy":
            export_npy(store, self.path)
        elif self.path.suffix == ".parquet":
            with replacing_file(self.path) as temporary:
                store.to_polars().rename({"features": "embedding"}).write_parquet(temporary)
        if self._work.exists():
            shutil.rmtree(self._work)


def _parts(batches: Iterator[EmbeddedBatch]) -> Iterator[list[EmbeddedBatch]]:
    """Batches, gathered to PART images."""
    part: list[EmbeddedBatch] = []
    for batch in batches:
        part.append(batch)
        if sum(len(each.images) for each in part) >= PART:
            yield part
            part = []
    if part:
        yield part


def _rows(part: list[EmbeddedBatch]) -> tuple[Rows, list[Failure]]:
    ids = [image.name for batch in part for image in batch.images]
    sizes = np.array([size for batch in part for size in batch.sizes], np.int32).reshape(-1, 2)
    failures = [Failure(image.name, error.reason) for batch in part for image, error in batch.failures]
    digests = np.array([digest for batch in part for digest in batch.digests], np.uint64)
    return Rows(ids, np.concatenate([batch.embeddings for batch in part]), sizes, digests), failures
