"""The heads as a recipe writes them: plain data, so that recipes are checked without loading PyTorch.

head: {kind: linear, dim: 64, dropout: 0.2}
"""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from probe.validation import Strict


class FullDimension(Strict):
    """The backbone's features as they are (UnED Table 4, off-the-shelf)."""

    kind: Literal["full-dimension"] = "full-dimension"


class AveragePooling(Strict):
    """Means of D/d consecutive channels (UniFEx Table 3, "pooling"); windows overlap where d does not divide D."""

    kind: Literal["average-pooling"] = "average-pooling"
    dim: PositiveInt = 64


class RandomProjection(Strict):
    """A linear layer with bias as PyTorch initialises it, one draw a seed (UniFEx Table 3, "linear")."""

    kind: Literal["random-projection"] = "random-projection"
    dim: PositiveInt = 64


class PCAWhitening(Strict):
    """PCA with whitening, fitted on L2-normalised training features (UnED section 4.1, PCAw).

    `per_domain`: at most so many random training images of each domain; 0 takes all.
    """

    kind: Literal["pca-whitening"] = "pca-whitening"
    dim: PositiveInt = 64
    per_domain: NonNegativeInt = 9000


class Linear(Strict):
    """Dropout, then a linear layer with bias: the trained head of UniFEx (section 3.2)."""

    kind: Literal["linear"] = "linear"
    dim: PositiveInt = 64
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2


HeadConfig = Annotated[
    FullDimension | AveragePooling | RandomProjection | PCAWhitening | Linear, Field(discriminator="kind")
]
TRAINED = (Linear,)
