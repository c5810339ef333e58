"""A discriminant in closed form: it shrinks how images of one class differ, and keeps how nearest classes do.

head = Discriminant(1152, dim=64, generator=torch.Generator()).fit(images)
head(features)             # (B, D) -> (B, 64)
head(features)[:, :32]     # what a head of dim=32 gives
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import nn
from torch.nn import functional as F

from probe.errors import UsageError
from probe.heads.base import HEADS, ClosedFormHead, LastStep, Normalize, SignedPower, linear_layer
from probe.heads.pca import covariance_of, fixed_signs, spanned
from probe.heads.training_images import Blocks, TrainingImages
from probe.search import search

COMPONENTS = 600  # leading principal components of the features, in which all else is done
SAMPLED = 32_768  # images whose neighbours are searched, and among which, where there are more
QUERIES = 512  # of one search: it is told the pairs of one class, which may be as many as queries times images

Dim = Annotated[int, Field(ge=1, le=COMPONENTS)]
Power = Annotated[float, Field(gt=0, le=1)]
Shrinkage = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class ClassSpread:
    """Of training images, raised to a power and brought to unit length: where they lie, and how those of one class
    differ, whatever the shrinkage. Float64, on their device."""

    mean: torch.Tensor
    """(D,)"""

    components: torch.Tensor
    """(D, m) The leading principal ones."""

    variances: torch.Tensor
    """(m,) Of the pooled covariance within classes, in these components: its eigenvalues."""

    directions: torch.Tensor
    """(m, m) Its eigenvectors."""


@HEADS.register
class Discriminant(ClosedFormHead):
    """(B, D) -> (B, d): P (u - mean), u = z/‖z‖, z = sign(x) |x|^power; the rows of P for a smaller d are its first.

    Within-class covariance normalisation (Hatch, Kajarekar and Stolcke 2006) on the leading principal components V of
    u: A = (S + λI)^(-1/2), S the pooled covariance within classes, λ = shrinkage · tr(S) / 1000. Then nonparametric
    discriminant analysis (Fukunaga and Mantock 1983): for each whitened image its nearest ones of other classes, by
    cosine; W are the leading eigenvectors of the second moments of the differences. P = Wᵀ A Vᵀ.
    """

    class Config(ClosedFormHead.Config):
        kind: Literal["discriminant"] = "discriminant"
        dim: Dim = 64
        shrinkage: Shrinkage = 1.0
        """Of the covariance within classes towards a multiple of the identity; the fewer images, the more."""
        power: Power = 1.0
        """Of each feature, its sign kept, before the length is made one: below 1, large channels count for less."""
        neighbours: PositiveInt = 20
        """Of other classes, for each image."""
        fit_to: Annotated[str, Field(min_length=1)] | None = None
        """The data on whose index images, without labels, the last step is fitted."""

        @property
        def collection(self) -> str | None:
            return self.fit_to

        @property
        def drawn(self) -> bool:
            return False

    mean: torch.Tensor
    projection: torch.Tensor
    whitening: torch.Tensor
    """(m, D) A Vᵀ, of which P is a projection; (0, D) before it is fitted, and in files of before it was kept."""

    def __init__(
        self,
        in_dim: int,
        dim: int,
        generator: torch.Generator,
        shrinkage: float = 1.0,
        power: float = 1.0,
        neighbours: int = 20,
    ) -> None:
        super().__init__()
        self.shrinkage, self.power, self.neighbours = shrinkage, power, neighbours
        self.register_buffer("mean", torch.zeros(in_dim, device=generator.device))
        self.register_buffer("projection", torch.zeros(dim, in_dim, device=generator.device))
        self.register_buffer("whitening", torch.zeros(0, in_dim, device=generator.device))
        self.register_load_state_dict_pre_hook(_make_room)

    @classmethod
    def build(cls, config: "Config", in_dim: int, generator: torch.Generator) -> Self:
        options = {name: value for name, value in config.options.items() if name != "fit_to"}
        return cls(in_dim, generator=generator, **options)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (self.unit(features) - self.mean) @ self.projection.T

    def layers(self) -> list[nn.Module]:
        linear = linear_layer(self.projection, -self.projection.double() @ self.mean.double())
        return [*self._to_unit(), linear]

    def last_step(self) -> LastStep:
        """Of up to 600 whitened dimensions."""
        if not len(self.whitening):
            raise UsageError("the head was fitted before its whitening was kept; fit the run again.")
        whitening = self.whitening.double()
        before = [*self._to_unit(), linear_layer(self.whitening, -whitening @ self.mean.double())]
        return LastStep(before, (self.projection.double() @ torch.linalg.pinv(whitening)).cpu())

    def _to_unit(self) -> list[nn.Module]:
        return [*([SignedPower(self.power)] if self.power != 1 else []), Normalize()]

    def fit(self, images: TrainingImages) -> Self:
        """One pass over the images in float64, then the neighbours among at most 32,768 of them, evenly spaced.

        Where there is a collection, its images take the place of the neighbours: W are the leading principal components
        of h/‖h‖, h = A Vᵀ (u - mean), in one pass over it. Memory: some (D, D) sums, one of (C, D), and the sample in
        600 dimensions. Raises UsageError for fewer than two classes, where each has one image only, and where the
        features, or what W is made of, span fewer than `dim` directions.
        """
        dim, spread = len(self.projection), self.class_spread(images)
        self._require(spread.components.shape[1], f"the {len(images):,} training features")
        whitening = spread.components @ self._whitening(spread)  # (D, m)
        key = (Discriminant, self.power, self.shrinkage, self.neighbours)
        directions = images.once(key, lambda: self._directions(images, spread.mean, whitening))  # (m, r)
        what = "the differences" if images.collection is None else "the images of the collection"
        self._require(directions.shape[1], what)
        self.mean.copy_(spread.mean)
        self.projection.copy_(fixed_signs((whitening @ directions[:, :dim]).T))
        self.whitening = whitening.T.to(self.projection).contiguous()
        return self

    def _require(self, spanned_dimensions: int, what: str) -> None:
        if spanned_dimensions < len(self.projection):
            raise UsageError(f"{self._title}: {what} span only {spanned_dimensions}; lower head.dim.")

    def _directions(self, images: TrainingImages, mean: torch.Tensor, whitening: torch.Tensor) -> torch.Tensor:
        """(m, r) All that there are, the leading ones first, whatever the dimensions that are asked for."""
        if images.collection is None:
            moments = self._between(images, mean, whitening)
        else:
            moments = self._spread(images.collection, mean, whitening)
        return spanned(moments, 0, len(moments), self._title)[1]

    def class_spread(self, images: TrainingImages) -> ClassSpread:
        """The same for all heads of one power. Raises UsageError as `fit` does."""
        return images.once((ClassSpread, self.power), lambda: self._class_spread(images))

    def _class_spread(self, images: TrainingImages) -> ClassSpread:
        mean, total, within = self._covariances(images)
        _, components = spanned(total, 1, COMPONENTS, f"{self._title}: the {len(images):,} training features")
        variances, directions = torch.linalg.eigh(components.T @ within @ components)
        return ClassSpread(mean, components, variances, directions)

    @property
    def _title(self) -> str:
        return f"a discriminant to {len(self.projection)} dimensions"

    def unit(self, features: torch.Tensor) -> torch.Tensor:
        """(B, D) Raised to the power, and brought to unit length."""
        if self.power != 1:
            features = SignedPower(self.power)(features)
        return F.normalize(features, dim=1)

    def _covariances(self, images: TrainingImages) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(D,) The mean, and the (D, D) covariances of all images and within classes; in float64."""
        sizes = torch.bincount(images.labels)
        if len(sizes) < 2 or sizes.max() < 2:
            lack = "are of one class" if len(sizes) < 2 else "have no class of two"
            raise UsageError(
                f"a discriminant tells classes apart by how images of one class differ: the {len(images):,} training "
                f"images {lack}; take pca-whitening."
            )
        dim, device = len(self.mean), self.mean.device
        moments = torch.zeros(dim, dim, dtype=torch.float64, device=device)
        sums = torch.zeros(len(sizes), dim, dtype=torch.float64, device=device)
        for rows, block in images.blocks():
            unit = self.unit(block.double())
            moments.addmm_(unit.T, unit)
            sums.index_add_(0, images.labels[rows], unit)
        mean = sums.sum(0) / len(images)
        sums /= sizes[:, None].sqrt()
        return mean, moments / len(images) - mean.outer(mean), (moments - sums.T @ sums) / len(images)

    def _whitening(self, spread: ClassSpread) -> torch.Tensor:
        """(m, m) symmetric, (S + λI)^(-1/2)."""
        ridge = self.shrinkage * spread.variances.sum() / 1000
        return spread.directions * (spread.variances.clamp_min(0) + ridge).rsqrt() @ spread.directions.T

    def _between(self, images: TrainingImages, mean: torch.Tensor, whitening: torch.Tensor) -> torch.Tensor:
        """(m, m) float64: the sum of the outer products of an image's differences from its neighbours."""
        rows = np.arange(0, len(images), -(-len(images) // SAMPLED))
        whitened = (self.unit(images.take(rows).double()) - mean) @ whitening  # (n, m)
        labels = images.labels[torch.from_numpy(rows).to(images.labels.device)]
        between = torch.zeros_like(whitening[: whitening.shape[1]])
        times = torch.zeros_like(whitened[:, 0])  # that each image is a neighbour
        for queries, neighbours, known in self._neighbours(whitened.float(), labels):
            own = whitened[queries]  # (q, m)
            crossed = own.T @ F.embedding_bag(neighbours, whitened, mode="sum", per_sample_weights=known)
            between += (own.T * known.sum(1)) @ own - crossed - crossed.T
            times.index_add_(0, neighbours.flatten(), known.flatten())
        return between + (whitened.T * times) @ whitened

    def _spread(self, collection: Blocks, mean: torch.Tensor, whitening: torch.Tensor) -> torch.Tensor:
        """(m, m) float64: the covariance of the whitened images, each of unit length."""
        whitened = ((self.unit(block.double()) - mean) @ whitening for _, block in collection())
        return covariance_of(F.normalize(rows, dim=1) for rows in whitened)

    def _neighbours(
        self, whitened: torch.Tensor, labels: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Some images at a time: their (q,) rows, the (q, k) rows of the nearest of other classes, and (q, k) ones, or
        zeros where there are fewer."""
        for queries in torch.arange(len(whitened), device=whitened.device).split(QUERIES):
            of_one_class = (labels[queries][:, None] == labels).nonzero().cpu().numpy()
            rows = torch.from_numpy(search(whitened[queries], whitened, self.neighbours, of_one_class).rows)
            rows = rows.to(queries.device)
            yield queries, rows.clamp_min(0), (rows >= 0).double()


def _make_room(head: nn.Module, state: dict[str, torch.Tensor], prefix: str, *_: object) -> None:
    """As many rows of the whitening as are loaded: none of files that have no whitening."""
    assert isinstance(head, Discriminant)
    given = state.setdefault(f"{prefix}whitening", head.whitening[:0])
    head.whitening = head.whitening.new_zeros(len(given), head.whitening.shape[1])
