import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from probe.errors import UsageError
from probe.search.vectors import Vectors, _read_spans
from tests.conftest import examples

VALUES = np.random.default_rng(0).standard_normal((300, 3))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("rows", [None, [5, 299, 0, 5, 100]])
def test_blocks_are_the_same_wherever_the_values_lie(dtype: type, rows: list[int] | None, tmp_path) -> None:
    values = VALUES.astype(dtype)
    np.save(tmp_path / "values.npy", values)
    chosen = None if rows is None else np.array(rows)
    with h5py.File(tmp_path / "values.h5", "w") as file:
        places = (torch.from_numpy(values), np.load(tmp_path / "values.npy", mmap_mode="r"), values[::1])
        for place in (*places, file.create_dataset("values", data=values)):
            vectors = Vectors(place, chosen)
            assert (len(vectors), vectors.dim) == (300 if rows is None else 5, 3)
            block = vectors.block(1, 4)
            assert block.dtype == (torch.float64 if dtype == np.float64 else torch.float32)
            expected = values[slice(1, 4) if chosen is None else chosen[1:4]]
            np.testing.assert_array_equal(block.numpy(), expected.astype(block.numpy().dtype))
            taken = vectors.take(np.array([4, 2])).block(0, 2)
            np.testing.assert_array_equal(taken.numpy(), values[[4, 2] if chosen is None else chosen[[4, 2]]])


@examples(30, 300)
@given(st.lists(st.integers(0, 299), max_size=20))
def test_rows_of_a_dataset_are_read_in_any_order_and_as_often_as_named(rows: list[int]) -> None:
    np.testing.assert_array_equal(_read_spans(VALUES, np.array(rows, np.int64)), VALUES[rows])


def test_a_block_past_the_end_is_shorter() -> None:
    assert Vectors(VALUES).block(298, 400).shape == (2, 3)
    assert Vectors(VALUES).block(300, 400).shape == (0, 3)


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros((3, 2), np.int64), torch.zeros(2, 3, 4), np.zeros((3, 0))])
def test_what_is_no_matrix_of_floats_is_refused(values: np.ndarray | torch.Tensor) -> None:
    with pytest.raises(UsageError, match="vectors are a matrix of floats"):
        Vectors(values)


@pytest.mark.parametrize("row", [-1, 300])
def test_rows_that_are_not_there_are_refused(row: int) -> None:
    with pytest.raises(UsageError, match="are asked for of vectors that have 300"):
        Vectors(VALUES, np.array([0, row]))
