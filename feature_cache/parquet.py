"""Parquet files that others made: tables, and ids and vectors in columns. Polars is imported when it is needed.

None is read that claims more rows than it has bytes: half a megabyte can stand for forty million equal rows.

read_parquet(Path("manifest.parquet"))
ids(Path("clip.parquet"))                       # of the first column that is called as ids are
ParquetVectors(Path("clip.parquet"))[0:1000]    # (1000, D)
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_cache.disk import require_regular
from feature_cache.engine import polars_engine
from feature_cache.errors import StoreError, first_line

if TYPE_CHECKING:
    import polars as pl

FEW = 10_000  # rows that any file may have
ID_COLUMNS = ("image_path", "id", "image", "path", "key")


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> "pl.DataFrame":
    """These columns, or all. Raises StoreError for a file that cannot be read."""
    import polars as pl

    _require_rows(path)
    return _polars(path, lambda: pl.read_parquet(path, columns=list(columns) if columns else None, glob=False))


def ids(path: Path, column: str | None = None) -> list[str]:
    """The texts of a column, by default of the first of ID_COLUMNS. Raises StoreError for a row without one."""
    import polars as pl

    schema = _schema(path)
    column = column or next((name for name in ID_COLUMNS if name in schema), None)
    if column not in schema or schema[column] != pl.String:
        raise StoreError(
            f"{path} has no column of ids among {', '.join(schema)}; call one of text {', '.join(ID_COLUMNS[:-1])} or "
            f"{ID_COLUMNS[-1]}, or import the file and name it with --id-column."
        )
    found = read_parquet(path, [column])[column]
    if found.null_count():
        raise StoreError(f"{path}: row {found.is_null().arg_max():,} has no id in the column {column}.")
    return found.to_list()


class ParquetVectors:
    """A column of floating-point vectors of equal length; row groups are read as they are asked for.

    Raises StoreError when the column, or without a name the only one of its kind, is not there or cannot be read.
    """

    def __init__(self, path: Path, column: str | None = None) -> None:
        import polars as pl

        self.path = path
        self.rows = _require_rows(path)
        self.frame = pl.scan_parquet(path).select(_vector_column(path, column))
        self.dim: int | None = None
        first = self[slice(0, 1)]
        self.dtype, self.dim = first.dtype, first.shape[-1]

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.dim or 0

    def __getitem__(self, rows: slice) -> np.ndarray:
        return _polars(self.path, lambda: self._read(rows.start, rows.stop))

    def _read(self, start: int, stop: int) -> np.ndarray:
        import polars as pl

        values = self.frame.slice(start, stop - start).collect().to_series()
        if isinstance(values.dtype, pl.List):
            values = values.list.to_array(self.dim or int(values.list.len()[0] or 0))
        if values.null_count() or values.explode().null_count():
            raise ValueError("a vector is missing")
        return values.to_numpy()


def _vector_column(path: Path, column: str | None) -> str:
    import polars as pl

    schema = _schema(path)
    vectors = [name for name, kind in schema.items() if isinstance(kind, pl.List | pl.Array) and kind.inner.is_float()]
    if column is not None and column not in vectors:
        raise StoreError(
            f"{path} has no column {column} of floating-point vectors; its columns are {', '.join(schema)}."
        )
    if column is None and len(vectors) != 1:
        raise StoreError(
            f"{path} has {len(vectors)} columns of floating-point vectors among {', '.join(schema)}; "
            "keep one, or import the file and name it with --vector-column."
        )
    return column or vectors[0]


def _require_rows(path: Path) -> int:
    """Their number. Raises StoreError where the file claims more of them than it could tell apart."""
    import polars as pl

    rows = _polars(path, lambda: pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())
    size = path.stat().st_size
    if rows > max(FEW, size):
        raise StoreError(f"{path} claims {rows:,} rows in {size:,} bytes, which cannot all differ; write it again.")
    return rows


def _schema(path: Path) -> dict[str, Any]:
    import polars as pl

    return dict(_polars(path, lambda: pl.scan_parquet(path).collect_schema()))


def _polars(path: Path, read: Callable[[], Any]) -> Any:
    """What `read` gives; whatever Polars raises for it, panics too, as a StoreError."""
    require_regular(path)
    try:
        with polars_engine():
            return read()
    except MemoryError:
        raise
    except Exception as error:
        raise StoreError(f"{path} cannot be read as Parquet ({first_line(error)}).") from error
