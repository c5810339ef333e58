"""A crop of an enlarged image, computed alone: the pixels of Pillow's `resize` and of a crop of it, to the bit.

A picture of 1 x 10,000 whose shorter side becomes 256 has 655 million pixels, of which 224 x 224 are taken. Pillow
enlarges rows and then columns, each time with weights of 22 bits and 8 bits of result (its src/libImaging/Resample.c),
so that a pixel depends on some rows and columns of the image alone. What is made smaller is not done here: some
versions of Pillow take columns first then.

    cropped_resize(image, (256, 2_560_000), (16, 1_279_888), 224, "bicubic")      # (224, 224, 3) uint8
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

BITS = 22  # of a weight's fraction

Filter = Callable[[np.ndarray], np.ndarray]


def cropped_resize(
    image: Image.Image, scaled: tuple[int, int], corner: tuple[int, int], px: int, interpolation: str
) -> np.ndarray:
    """(px, px, 3) uint8 from `corner` (left, top) of an RGB image that is enlarged to `scaled` (width, height)."""
    across, down = (
        _Pass(size, length, first, px, interpolation)
        for size, length, first in zip(image.size, scaled, corner, strict=True)
    )
    pixels = np.asarray(image.crop((across.start, down.start, across.stop, down.stop)))  # (height, width, 3)
    columns = across.apply(pixels.transpose(1, 0, 2))  # (px, height, 3)
    return np.ascontiguousarray(down.apply(columns.transpose(1, 0, 2)))


class _Pass:
    """Rows `first` and on, `count` in all, of those to which `size` rows are scaled: made of rows `start` to `stop`."""

    def __init__(self, size: int, scaled: int, first: int, count: int, interpolation: str) -> None:
        self._is_needed = scaled != size  # Pillow leaves out a pass that would change nothing
        if self._is_needed:
            starts, self._weights = _weights(size, scaled, np.arange(first, first + count), interpolation)
            self.start, self.stop = int(starts[0]), min(int(starts[-1]) + self._weights.shape[1], size)
            self._starts = starts - self.start
        else:
            self.start, self.stop = first, first + count

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """(stop - start, m, 3) -> (count, m, 3)."""
        if not self._is_needed:
            return rows
        sums = np.full((len(self._starts), *rows.shape[1:]), 1 << (BITS - 1), np.int32)
        for tap in range(self._weights.shape[1]):
            here = np.minimum(self._starts + tap, len(rows) - 1)  # beyond the last one the weight is 0
            sums += self._weights[:, tap, None, None] * rows[here]
        return np.clip(sums >> BITS, 0, 255).astype(np.uint8)


def _weights(size: int, scaled: int, rows: np.ndarray, interpolation: str) -> tuple[np.ndarray, np.ndarray]:
    """For each of `rows` of the result (n,), the first row of the image that counts, and the weights (n, taps) of this
    one and those behind it, as fractions of 2^22."""
    reach, weigh = FILTERS[interpolation]
    centres = (rows + 0.5) * (size / scaled)
    starts = np.maximum(np.trunc(centres - reach + 0.5), 0).astype(np.int64)
    ends = np.minimum(np.trunc(centres + reach + 0.5), size).astype(np.int64)
    taps = np.arange(reach * 2 + 1)
    weights = weigh(np.abs(taps + starts[:, None] - centres[:, None] + 0.5))
    weights[taps >= (ends - starts)[:, None]] = 0
    total = np.zeros(len(rows))
    for tap in taps:  # in Pillow's order
        total += weights[:, tap]
    weights /= np.where(total, total, 1)[:, None]
    return starts, np.trunc(weights * (1 << BITS) + np.copysign(0.5, weights)).astype(np.int32)


def _bilinear(x: np.ndarray) -> np.ndarray:
    return np.where(x < 1, 1 - x, 0.0)


def _bicubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic with a = -1/2."""
    a = -0.5
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


FILTERS: dict[str, tuple[int, Filter]] = {"bilinear": (1, _bilinear), "bicubic": (2, _bicubic)}
