"""Images to embeddings: decoding and preprocessing as in extraction, the frozen backbones, then the head.

What an image gives here is what its stored features give by the head, up to the rounding of the store's numbers.

    embedder = load("out/runs/mobilenetv1_linear_arcface_seed0_0a1b2c3d4e5f")
    vectors = embedder.encode("photos/", batch_size=64)       # (N, 64) float32
    embedder.similarity(vectors[:1], vectors)                 # (1, N)
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from probe.backbones import Backbone, Encoder
from probe.data import choose_workers
from probe.embed.images import GivenImage, Images, UndecodableError, UnreadError, list_images
from probe.errors import ProbeError, UsageError
from probe.extract import Selection, fuse
from probe.precision import Precision
from probe.progress import track
from probe.search import Distance

AHEAD = 2  # batches that are decoded while one is embedded


class Prepared(NamedTuple):
    """One image, decoded."""

    arrays: list[np.ndarray]
    """What each encoder takes."""
    size: tuple[int, int]
    """Width and height of the original, in pixels."""
    digest: int


@dataclass(frozen=True)
class EmbeddedBatch:
    """Some images that follow one another."""

    images: list[GivenImage]
    """The n that could be decoded."""
    embeddings: np.ndarray
    """(n, dim)."""
    sizes: list[tuple[int, int]]
    """Width and height of the originals, in pixels."""
    digests: list[int]
    """Of the bytes that were decoded; 0 for pixels."""
    failures: list[tuple[GivenImage, UndecodableError]]
    unread: list[tuple[GivenImage, UnreadError]]
    """Which the system did not hand over."""

    def require_whole(self) -> None:
        """Raises the error of the first image that has no embedding."""
        for _, error in (*self.failures, *self.unread):
            raise error


class Embedder:
    """Frozen backbones and a head, on one device; made by `load`.

    It may be called from any thread. `backbones`, `encoders`: in the order of the features' columns. `selection`: how
    their features become the head's. `key`: of all that its embeddings depend on. `dim`: length of the embeddings.
    """

    distance: Distance

    def __init__(
        self,
        backbones: Sequence[Backbone],
        encoders: Sequence[Encoder],
        selection: Selection,
        head: nn.Module,
        distance: Distance,
        device: torch.device,
        key: str,
    ) -> None:
        self.backbones, self.encoders, self.selection = list(backbones), list(encoders), selection
        self.head, self.distance, self.device, self.key = head.eval(), distance, device, key
        self.dim = self._project([np.ones((1, encoder.dim), np.float32) for encoder in encoders], [(1, 1)]).shape[1]

    @property
    def precisions(self) -> dict[str, Precision]:
        """Of the forward pass of each backbone that has weights, by its name."""
        pairs = zip(self.backbones, self.encoders, strict=True)
        return {backbone.name: encoder.precision for backbone, encoder in pairs if backbone.needs_weights}

    def with_head(self, head: nn.Module, key: str) -> "Embedder":
        """The same backbones with another head, (N, D) -> (N, d); key: of all that its embeddings depend on."""
        backbones, encoders = self.backbones, self.encoders
        return Embedder(backbones, encoders, self.selection, head, self.distance, self.device, key)

    def encode(self, inputs: Images, batch_size: int = 64, show_progress: bool = False) -> np.ndarray:
        """(N, dim) float32 embeddings of all images of `inputs`, in their order; one image gives (1, dim).

        `inputs`: an image or several: paths, folders and tars (their images sorted by path), PIL images, (height,
        width, 3) uint8 RGB arrays; or a data set of Hugging Face's `datasets`, row by row. The embeddings are of unit
        length, unless the head was scored by Euclidean distance.
        Raises ProbeError for an image that cannot be read, naming it, and UsageError for what is no image.
        """
        images = list_images(inputs)
        embeddings = np.empty((len(images), self.dim), np.float32)
        progress = track("encode", len(images), "images", shown=show_progress)
        done = 0
        with progress as advance:
            for batch in self.embed(images, batch_size):
                batch.require_whole()
                embeddings[done : done + len(batch.images)] = batch.embeddings
                done += len(batch.images)
                advance(len(batch.images))
        return embeddings

    def embed(self, images: Sequence[GivenImage], batch_size: int) -> "Iterator[EmbeddedBatch]":
        """The images batch after batch, in order, those that cannot be decoded or read told apart."""
        if not isinstance(batch_size, int) or batch_size < 1:
            raise UsageError(f"batch_size is {batch_size!r}; a batch has one image at least.")
        for batch in self._prepared(images, batch_size):
            prepared: list[tuple[GivenImage, Prepared]] = []
            failures: list[tuple[GivenImage, UndecodableError]] = []
            unread: list[tuple[GivenImage, UnreadError]] = []
            for image, future in batch:
                try:
                    prepared.append((image, future.result()))
                except UndecodableError as error:
                    failures.append((image, error))
                except UnreadError as error:
                    unread.append((image, error))
            embeddings = self._embed([each for _, each in prepared])
            images, sizes = [image for image, _ in prepared], [each.size for _, each in prepared]
            digests = [each.digest for _, each in prepared]
            yield EmbeddedBatch(images, embeddings, sizes, digests, failures, unread)

    def similarity(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(n, dim) and (m, dim) -> (n, m) float32: cosines, or where the head was scored by Euclidean distance, that
        distance with a minus, so that larger is always more similar. Raises UsageError for other shapes."""
        first, second = (torch.from_numpy(np.atleast_2d(np.asarray(each, np.float32))) for each in (a, b))
        if not first.ndim == second.ndim == 2 or not first.shape[1] == second.shape[1] == self.dim:
            raise UsageError(f"arrays of {np.shape(a)} and {np.shape(b)}; embeddings are (n, {self.dim}).")
        if self.distance == "euclidean":
            return -torch.cdist(first, second).numpy()
        return (F.normalize(first, dim=1) @ F.normalize(second, dim=1).T).numpy()

    def _prepared(
        self, images: Sequence[GivenImage], batch_size: int
    ) -> Iterator[list[tuple[GivenImage, "Future[Prepared]"]]]:
        """Batch after batch, decoded in threads, some batches ahead."""
        shared = self.device.type == "cpu" and any(backbone.needs_weights for backbone in self.backbones)
        pool = ThreadPoolExecutor(choose_workers(shared)[0], "decode")
        waiting: deque[list[tuple[GivenImage, Future[Prepared]]]] = deque()
        try:
            for start in range(0, len(images), batch_size):
                batch = images[start : start + batch_size]
                waiting.append([(image, pool.submit(self._prepare, image)) for image in batch])
                if len(waiting) > AHEAD:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            pool.shutdown(cancel_futures=True)

    def _prepare(self, image: GivenImage) -> Prepared:
        decoded, digest = image.decode_with_digest()
        return Prepared([encoder.prepare(decoded)[0] for encoder in self.encoders], decoded.size, digest)

    def _embed(self, batch: list[Prepared]) -> np.ndarray:
        """(n, dim)."""
        if not batch:
            return np.empty((0, self.dim), np.float32)
        columns = zip(*(each.arrays for each in batch), strict=True)
        features = [
            encoder(torch.from_numpy(np.stack(arrays))).numpy()
            for encoder, arrays in zip(self.encoders, columns, strict=True)
        ]
        return self._project(features, [each.size for each in batch])

    @torch.inference_mode()
    def _project(self, features: list[np.ndarray], sizes: list[tuple[int, int]]) -> np.ndarray:
        """(n, D_i) features of each encoder, and the images' width and height -> (n, dim)."""
        fused = torch.from_numpy(fuse(features, np.array(sizes), self.selection))
        embeddings: torch.Tensor = self.head(fused.to(self.device)).float()
        if not embeddings.isfinite().all():
            raise ProbeError("an embedding is not finite; compute in fp32.")
        if self.distance == "cosine":
            embeddings = F.normalize(embeddings, dim=1)
        return embeddings.cpu().numpy()
