"""The heads as a recipe writes them: plain data, so that recipes are checked without loading PyTorch.

head: {kind: linear, dim: 64, dropout: 0.2}
"""

from typing import Annotated, Literal, get_args

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from probe.validation import Strict

Dropout = Annotated[float, Field(ge=0, lt=1)]


class FullDimension(Strict):
    """The backbone's features as they are (UnED Table 4, off-the-shelf)."""

    kind: Literal["full-dimension"] = "full-dimension"


class AveragePooling(Strict):
    """Means of D/d consecutive channels (UniFEx Table 3, "pooling"); windows overlap where d does not divide D."""

    kind: Literal["average-pooling"] = "average-pooling"
    dim: PositiveInt = 64


class RandomProjection(Strict):
    """A linear layer as it is initialised, one draw a seed.

    The default is PyTorch's, with bias (UniFEx Table 3, "linear"). UnED's supplement (A.5) does not tell its own:
    `gaussian` is N(0, 1/D), `orthogonal` has orthonormal rows. The bias is U(±1/sqrt(D)).
    """

    kind: Literal["random-projection"] = "random-projection"
    dim: PositiveInt = 64
    distribution: Literal["uniform", "gaussian", "orthogonal"] = "uniform"
    bias: bool = True


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
    dropout: Dropout = 0.2


class L2LinearL2(Strict):
    """L2 normalisation, a linear layer with bias, L2 normalisation: UnED's head (section 4.1).

    Initialised as flax does: weights LeCun-normal, bias zero.
    """

    kind: Literal["l2-linear-l2"] = "l2-linear-l2"
    dim: PositiveInt = 64


class LinearL2(Strict):
    """A linear layer with bias, then L2 normalisation: ILIAS's linear adaptation. Xavier-uniform weights, zero bias.

    Its input is L2-normalised, as the features are that ILIAS's code stores.
    """

    kind: Literal["linear-l2"] = "linear-l2"
    dim: PositiveInt = 512


class BatchNormLinear(Strict):
    """Batch normalisation, dropout and a linear layer to `hidden`, reduced to `dim`: GUIEC's 6th place (section 2.1).

    The loss sees the `hidden` dimensions, the search the `dim` that are left by `pca`, fitted on the training images'
    embeddings, or by `average-pooling` over consecutive ones (section 3.3).
    """

    kind: Literal["batch-norm-linear"] = "batch-norm-linear"
    dim: PositiveInt = 64
    hidden: PositiveInt = 256
    dropout: Dropout = 0.2
    reduction: Literal["pca", "average-pooling"] = "pca"

    @model_validator(mode="after")
    def _reduction_reduces(self) -> "BatchNormLinear":
        if self.dim > self.hidden:
            raise ValueError(f"dim ({self.dim}) is above hidden ({self.hidden})")
        return self


Trained = Linear | L2LinearL2 | LinearL2 | BatchNormLinear
TRAINED = get_args(Trained)
HeadConfig = Annotated[
    FullDimension | AveragePooling | RandomProjection | PCAWhitening | Trained, Field(discriminator="kind")
]


def loss_dim(head: Trained) -> int:
    """Length of the embeddings that the loss sees."""
    return head.hidden if isinstance(head, BatchNormLinear) else head.dim
