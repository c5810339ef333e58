import numpy as np
import pytest
import torch

from probe.errors import UsageError
from probe.heads import AveragePooling, FullDimension


@pytest.mark.parametrize("in_dim", [64, 576, 768, 1024, 1152, 3072])
def test_average_pooling_is_the_mean_of_consecutive_channels(in_dim: int) -> None:
    features = torch.randn(5, in_dim, generator=torch.Generator().manual_seed(in_dim)) * 10
    group = in_dim // 64
    expected = [
        [sum(map(float, row[j * group : (j + 1) * group])) / group for j in range(64)] for row in features.numpy()
    ]
    np.testing.assert_allclose(AveragePooling(in_dim, 64)(features), expected, rtol=1e-5, atol=1e-5)


def test_full_dimension_leaves_the_features_as_they_are(features: torch.Tensor) -> None:
    assert torch.equal(FullDimension(features.shape[1])(features), features)


@pytest.mark.parametrize("head", [AveragePooling(24, 8), FullDimension(24)])
def test_heads_without_parameters_have_none(head: torch.nn.Module) -> None:
    assert not list(head.parameters())
    assert not head.state_dict()


def test_average_pooling_to_more_dimensions_than_there_are_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the features have only 32; lower head\.dim"):
        AveragePooling(32, 64)
