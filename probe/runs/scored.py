"""A folder that holds scores: what the directory of a run and the folder of an evaluation have in common.

metrics.json marks the folder as finished; per_query.parquet (merged index) and
per_query_separate.parquet have a row a query; digests.json has a digest of each file, which is checked when it is read.

    folder = ScoredFolder(path)
    folder.values("merged", "mMP@5").means()["Mean"]      # 0.612
"""

import json
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import polars as pl
from pydantic import BaseModel, ValidationError

from feature_cache import polars_engine
from probe.errors import UsageError, first_line
from probe.metrics import QUERY, QueryValues, metrics_of, parse_metric
from probe.runs.sealed import DIGESTS, digest_of, read_digests, seal
from probe.validation import Model, describe

CONFIG = "config.yaml"
SCORES = "metrics.json"
PER_QUERY = {"merged": "per_query.parquet", "separate": "per_query_separate.parquet"}
SEALED = "sealed: true"  # a line of config.yaml
NEIGHBOURS = ("neighbours", "neighbour_sources", "similarities", "hits")
"""Columns of lists, one a query, of its nearest neighbours, best first."""

TYPES: dict[str, tuple[Any, ...]] = {
    "source": (pl.String,),
    "image": (pl.String,),
    "domain": (pl.String,),
    "label": (pl.String, pl.List(pl.String)),
    "neighbours": (pl.List(pl.String),),
    "neighbour_sources": (pl.List(pl.String),),
    "similarities": (pl.List(pl.Float64), pl.List(pl.Float32)),
    "hits": (pl.List(pl.Boolean),),
}

Schema = dict[str, pl.DataType]


class ScoredFolder:
    """Raises UsageError, in one sentence, for what is missing, damaged or of another form, when it is asked for."""

    remake: ClassVar[str] = "make it again"

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        return self.path.resolve().name  # `.` has a name too

    @property
    def done(self) -> bool:
        return (self.path / SCORES).is_file()

    @property
    def indexes(self) -> list[str]:
        """Those of which it has what each query found."""
        return [index for index, file in PER_QUERY.items() if (self.path / file).is_file()]

    def require_done(self) -> None:
        """Raises UsageError for a folder that holds no scores, and for a file."""
        if self.path.is_file():
            raise UsageError(f"{self.path} is a file; name the folder that it lies in.")
        if not self.done:
            raise UsageError(
                f"{self.path} is not a finished run; name folders that `probe fit` or `probe evaluate` made."
            )

    def sound(self, name: str) -> Path:
        """The path of a file, which is what was written. Folders of earlier versions have no digests to tell by."""
        file = self.path / name
        try:
            if self._digests is not None and self._digests.get(name) != digest_of(file):
                self._fail(file, "it is not what was written")
        except FileNotFoundError:
            pass  # whoever reads it says so
        except OSError as error:
            self._fail(file, first_line(error))
        return file

    @cached_property
    def _digests(self) -> dict[str, str] | None:
        try:
            return read_digests(self.path)
        except FileNotFoundError:
            if SEALED in self._config_text().splitlines():
                self._fail(self.path / DIGESTS, "it is not there")
            return None
        except (OSError, ValueError) as error:
            self._fail(self.path / DIGESTS, first_line(error))

    def _config_text(self) -> str:
        try:
            return (self.path / CONFIG).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ""  # whoever reads it says so

    def per_query(self, index: str) -> pl.DataFrame:
        """(Q, ...) QUERY, n, NEIGHBOURS, and a column of values for each metric."""
        schema = self._schema(index)
        self._require(index, schema, (*QUERY, "n", *NEIGHBOURS), metrics_of(list(schema)))
        return self._frame(index, None)

    def values(self, index: str, metric: str) -> QueryValues:
        """Of one metric, query by query."""
        schema = self._schema(index)
        known = metrics_of(list(schema))
        if metric not in known:
            parse_metric(metric)
            raise UsageError(
                f"{self.path / PER_QUERY[index]} has no values of '{metric}' (it has {', '.join(known)}); compare the "
                f"folder that `probe evaluate ... --metric {metric}` writes."
            )
        self._require(index, schema, (*QUERY, "n"), [metric])
        return QueryValues.of(self.name, self._frame(index, [*QUERY, "n", metric]), metric)

    def version(self, index: str) -> tuple[int, int, int] | None:
        """Of the per-query file: another one after each change of it, found without reading it; None where it is
        missing."""
        try:
            found = (self.path / PER_QUERY[index]).stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns, found.st_ino

    def _read_json(self, model: type[Model], name: str = SCORES) -> Model:
        file = self.sound(name)
        try:
            return model.model_validate_json(file.read_bytes())
        except ValidationError as error:
            self._fail(file, describe(error, model))
        except OSError as error:
            self._fail(file, first_line(error))

    def _schema(self, index: str) -> Schema:
        file = self.path / PER_QUERY[index]
        self.require_done()
        if not file.is_file():
            raise UsageError(f"{file} is not there: the {index} index was not scored, or the file was deleted.")
        try:
            with polars_engine():
                return dict(pl.read_parquet_schema(self.sound(file.name)))
        except (OSError, pl.exceptions.PolarsError) as error:
            self._fail(file, first_line(error))

    def _require(self, index: str, schema: Schema, columns: tuple[str, ...], metrics: list[str]) -> None:
        file = self.path / PER_QUERY[index]
        for name in columns:
            if name not in schema:
                self._fail(file, f"it has no column '{name}'")
            right = schema[name] in TYPES[name] if name in TYPES else schema[name].is_integer()
            if not right:
                self._fail(file, f"its column '{name}' is {schema[name]}")
        for name in metrics:
            if not schema[name].is_numeric():
                self._fail(file, f"its values of '{name}' are {schema[name]}")

    def _frame(self, index: str, columns: list[str] | None) -> pl.DataFrame:
        file = self.path / PER_QUERY[index]
        try:
            with polars_engine():
                frame = pl.read_parquet(file, columns=columns)
        except (OSError, pl.exceptions.PolarsError) as error:
            self._fail(file, first_line(error))
        for name in (*QUERY, "n", *NEIGHBOURS):
            if name in frame.columns and (empty := frame[name].is_null()).any():
                self._fail(file, f"its column '{name}' has nothing in row {(empty.arg_max() or 0) + 1:,}")
        return frame

    def _fail(self, file: Path, problem: str) -> NoReturn:
        raise UsageError(f"{file} cannot be read ({problem.rstrip('.')}); delete {self.path} and {self.remake}.")


def write_scored(folder: Path, scores: BaseModel, per_query: dict[str, pl.DataFrame]) -> None:
    """The per-query files, metrics.json, with sorted keys and full precision, so that equal results are equal files,
    and the digests of all that is there."""
    for index, queries in per_query.items():
        queries.write_parquet(folder / PER_QUERY[index])
    text = json.dumps(scores.model_dump(), indent=1, sort_keys=True, allow_nan=False)
    (folder / SCORES).write_text(f"{text}\n", encoding="utf-8")
    seal(folder)
