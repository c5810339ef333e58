"""In which order training images are seen: a function of the seed and the position, so that a run can go on anywhere.

Where the features are in memory, each pass is a uniform permutation. Where they are read from the store, a pass
shuffles blocks of neighbouring rows, and then the rows inside each window of blocks: every row is seen once a pass, but
the rows of a window stay together, so batches are not independent draws. With a single window both orders are the same.

    order = Order(rows=328_400, seed=0, window=None)
    order.between(0, 128)      # (128,) the first batch's rows
"""

from dataclasses import dataclass

import numpy as np

BLOCK_ROWS = 1024


@dataclass(frozen=True)
class Order:
    """An endless stream of passes over `rows` rows. `window`: rows shuffled together, None for all of them. `stream`:
    numbers that tell streams of one seed apart."""

    rows: int
    seed: int
    window: int | None = None
    block: int = BLOCK_ROWS
    stream: tuple[int, ...] = ()

    def between(self, start: int, stop: int) -> np.ndarray:
        """(stop - start,) int64 row of each position of the stream."""
        first, last = start // self.rows, -(-stop // self.rows)
        stream = np.concatenate([self.of_pass(number) for number in range(first, last)])
        return stream[start - first * self.rows : stop - first * self.rows]

    def of_pass(self, number: int) -> np.ndarray:
        """(rows,) int64: every row once."""
        random = np.random.default_rng([self.seed, number, *self.stream])
        if self.window is None or self.window >= self.rows:
            return random.permutation(self.rows)
        starts = np.arange(0, self.rows, self.block)
        blocks = [np.arange(start, min(start + self.block, self.rows)) for start in random.permutation(starts)]
        together = max(1, self.window // self.block)
        windows = [np.concatenate(blocks[first : first + together]) for first in range(0, len(blocks), together)]
        return np.concatenate([random.permutation(rows) for rows in windows])
