"""COCO-like JSON: images, annotations that give them categories, categories (iNaturalist 2018, Food Recognition 2022).

Columns: `file_name`, `category_id`, `category` (its name). An image has a row for each category that it shows; one
without annotations has none, which is an error unless `keep` says that the category is `present`.

    Coco.Config(file="train2018.json", image="{file_name}", label="{category_id}", part="train")
"""

from pathlib import Path
from typing import Any, Literal

import polars as pl

from probe.data.readers.base import AGAIN, READERS, ROW, Reader
from probe.data.readers.records import strings
from probe.data.readers.text import read_json
from probe.errors import UsageError


@READERS.register
class Coco(Reader):
    class Config(Reader.Config):
        kind: Literal["coco"] = "coco"

    def columns(self, path: Path) -> pl.DataFrame:
        found = read_json(path)
        images = _list(found, "images", ("id", "file_name"), path).with_row_index(ROW, 1)
        annotations = _list(found, "annotations", ("image_id", "category_id"), path).with_row_index(ROW, 1)
        categories = _list(found, "categories", ("id", "name"), path)
        names = categories.rename({"id": "category_id", "name": "category"})
        labelled = annotations.join(names, "category_id", "left")
        orphans = annotations.join(images, left_on="image_id", right_on="id", how="anti")
        for rows, what, column in (
            (labelled.filter(pl.col("category").is_null()), "category", "category_id"),
            (orphans, "image", "image_id"),
        ):
            if not rows.is_empty():
                where = f"{path}, annotation {rows[ROW][0]}"
                raise UsageError(f"{where}: {column} {rows[column][0]} is no {what} of the file; {AGAIN}.")
        shown = labelled.select("image_id", "category_id", "category").unique(maintain_order=True)
        frame = images.join(shown, left_on="id", right_on="image_id", how="left", maintain_order="left_right")
        return frame.select(ROW, "file_name", "category_id", "category")


def _list(found: Any, key: str, fields: tuple[str, ...], path: Path) -> pl.DataFrame:
    records = found.get(key) if isinstance(found, dict) else None
    if not isinstance(records, list) or not records:
        raise UsageError(f"{path} has no list '{key}'; is it the right file?")
    columns = []
    for field in fields:
        for row, record in enumerate(records, 1):
            if not isinstance(record, dict) or type(record.get(field)) not in (str, int):
                raise UsageError(f"{path}: '{key}' {row} has no {field}; {AGAIN}.")
        columns.append(strings([record[field] for record in records], field, path))
    frame = pl.DataFrame(columns)
    twice = frame.filter(pl.col("id").is_duplicated()) if "id" in fields else frame.clear()
    if not twice.is_empty():
        raise UsageError(f"{path}: '{key}' has the id {twice['id'][0]} twice; {AGAIN}.")
    return frame
