import pytest
import torch


@pytest.fixture
def features() -> torch.Tensor:
    """(500, 24) raw features, correlated, of uneven scale, not centred."""
    generator = torch.Generator().manual_seed(5)
    mixing = torch.randn(24, 24, generator=generator) * torch.linspace(0.2, 2, 24)
    return torch.randn(500, 24, generator=generator) @ mixing + 1.5
