"""Nothing here may reach a hub: the tests run as they would on a machine without a network."""

import os
from collections.abc import Iterator

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many threads here as in forked processes, for the same bits (and OpenMP's do not survive a fork)."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
