"""Columns of features that are the same in all images, and so tell none from another.

All of them are where weights are zeros, or where the preprocessing leaves nothing of an image; some are where no image
excites a channel. Rows are looked at block by block, and of these only the columns that have been constant so far.

    constants = Constants()
    constants.add(features)      # (n, D)
    constants.remark             # "17 of 1,280 columns of the features are the same in all 3,000 images"
"""

import numpy as np


class Constants:
    def __init__(self) -> None:
        self.rows = 0
        """That were looked at."""
        self._first = np.empty(0)
        self._columns = np.empty(0, np.int64)

    def add(self, block: np.ndarray) -> None:
        """(n, D) more rows."""
        if not self.rows and len(block):
            self._first, self._columns = block[0].copy(), np.arange(block.shape[1])
        self.rows += len(block)
        if self._columns.size:
            self._columns = self._columns[(block[:, self._columns] == self._first[self._columns]).all(axis=0)]

    @property
    def none(self) -> bool:
        """Whether every column tells some images apart."""
        return self.rows > 1 and not self._columns.size

    @property
    def all(self) -> bool:
        """Whether no column does."""
        return self.rows > 1 and self._columns.size == self._first.size

    @property
    def remark(self) -> str | None:
        """What has to be known before any score, as one line."""
        if self.none or self.rows < 2:
            return None
        if not self.all:
            columns, dim = self._columns.size, self._first.size
            return f"{columns:,} of {dim:,} columns of the features are the same in all {self.rows:,} images"
        what = "equal" if self._first.any() else "zero"
        return (
            f"the features of all {self.rows:,} images are {what}: they tell no image from another, and no score "
            "of them means anything; look at the images, the weights and the preprocessing"
        )
