"""The order of the training images: every row once a pass, from the seed and the position alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.fit.samplers import Order
from tests.conftest import examples


@given(
    rows=st.integers(1, 300),
    seed=st.integers(0, 5),
    window=st.one_of(st.none(), st.integers(1, 320)),
    block=st.integers(1, 40),
)
@examples(60, 1000)
def test_every_row_is_seen_once_a_pass(rows: int, seed: int, window: int | None, block: int) -> None:
    order = Order(rows, seed, window, block)
    for number in range(3):
        assert sorted(order.between(number * rows, (number + 1) * rows)) == list(range(rows))


@given(cuts=st.lists(st.integers(0, 250), min_size=2, max_size=6), window=st.sampled_from([None, 20]))
@examples(40, 1000)
def test_a_stretch_does_not_depend_on_where_one_starts_to_look(cuts: list[int], window: int | None) -> None:
    order, (first, *_, last) = Order(50, 3, window, 5), sorted(cuts)
    whole = order.between(0, 300)
    assert np.array_equal(order.between(first, last + 1), whole[first : last + 1])


def test_passes_and_seeds_have_orders_of_their_own() -> None:
    orders = [tuple(Order(64, seed, window, 4).of_pass(number)) for seed in (0, 1) for number in (0, 1)
              for window in (None, 16)]  # fmt: skip
    assert len(set(orders)) == 8


@pytest.mark.parametrize("window", [100, 1000])
def test_a_window_that_holds_everything_is_a_permutation_of_everything(window: int) -> None:
    assert np.array_equal(Order(100, 4, window, 7).of_pass(2), Order(100, 4).of_pass(2))


def test_a_window_holds_whole_blocks_of_neighbours() -> None:
    order = Order(rows=100, seed=0, window=30, block=10).of_pass(0)
    for start in range(0, 100, 30):
        blocks = {row // 10 for row in order[start : start + 30]}
        assert len(blocks) == min(3, (100 - start) // 10)
    inside = order[:30].tolist()
    assert inside != sorted(inside)
