import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from probe.search.distances import CosineSpace, EuclideanSpace
from probe.search.vectors import Vectors
from tests.conftest import examples

CPU = torch.device("cpu")
SPACES = [CosineSpace, EuclideanSpace]


@examples(20, 500)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(SPACES),
    st.sampled_from([torch.float32, torch.float64]),
    st.sampled_from([1, 3, 64, 384]),
    st.sampled_from([0.0, 1.0, 1e4]),
)
def test_a_proposal_is_no_further_from_the_exact_similarity_than_its_bound(
    seed: int, space_of: type, dtype: torch.dtype, dim: int, offset: float
) -> None:
    rng = np.random.default_rng(seed)
    q, x = (
        torch.from_numpy((rng.standard_normal((n, dim)) * rng.lognormal(sigma=2, size=(n, 1)) + offset).astype("f4"))
        for n in (7, 50)
    )
    space = space_of(Vectors(q), Vectors(x), CPU)
    proposals = space.query_rows(q, dtype) @ space.index_rows(x, dtype).T
    for number, query in enumerate(q):
        repeated = query.expand(50, -1)
        exact = space.proposal(space.exact(repeated, x), repeated)
        assert ((proposals[number].double() - exact).abs() <= space.error(query[None], dtype)).all()


@pytest.mark.parametrize("space_of", SPACES)
@pytest.mark.parametrize("dim", [1, 2, 7, 64, 1152])
def test_exact_similarities_are_right_and_the_same_bits_in_any_batch(space_of: type, dim: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q, x = (torch.randn(37, dim, generator=generator) for _ in range(2))
    space = space_of(Vectors(q), Vectors(x), CPU)
    together = space.exact(q, x)
    assert torch.equal(together, torch.cat([space.exact(q[i : i + 1], x[i : i + 1]) for i in range(37)]))
    assert torch.equal(together[5:20], space.exact(q[5:20], x[5:20]))
    assert torch.equal(together, space.exact(q.double(), x.double()))
    for i, (a, b) in enumerate(zip(q.double().numpy(), x.double().numpy(), strict=True)):
        if space_of is CosineSpace:
            expected = math.fsum(a * b) / math.sqrt(math.fsum(a * a) * math.fsum(b * b))
        else:
            expected = -math.sqrt(math.fsum((a - b) ** 2))
        assert together[i].item() == pytest.approx(expected, rel=1e-14, abs=1e-15)
