import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from probe.search import duplicates
from probe.search.duplicates import without_late_copies
from probe.search.vectors import Vectors
from tests.conftest import examples


@examples(20, 500)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.sampled_from([np.float32, np.float64]), st.booleans())
def test_rows_with_fewer_equals_in_front_are_kept_whatever_their_hashes(
    seed: int, copies: int, dtype: type, collide: bool
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(-1, 2, (rng.integers(1, 40), rng.integers(1, 4))).astype(dtype) * rng.choice([1.0, -1.0])
    in_front = [sum(np.array_equal(values[i], values[j]) for j in range(i)) for i in range(len(values))]
    expected = [row for row, count in enumerate(in_front) if count < copies]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "READ", 7)
        if collide:
            patch.setattr(duplicates, "_hashes", lambda vectors: torch.zeros(len(vectors), dtype=torch.int64))
        kept = without_late_copies(Vectors(values), copies).tolist()
    if collide and len(np.unique(values + 0.0, axis=0)) > 1:
        assert kept == list(range(len(values))), "unequal vectors of one hash are all kept"
    else:
        assert kept == expected
