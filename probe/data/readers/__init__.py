"""Readers of published annotation formats, a file each.

A new file here, or a class of the user's named `package.module:Class`, is a reader like these (docs/datasets.md).
"""

from probe.data.readers.base import AGAIN, READERS, ROW, Reader, reader_of

__all__ = ["AGAIN", "READERS", "ROW", "Reader", "reader_of"]
