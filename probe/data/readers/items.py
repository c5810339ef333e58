"""DeepFashion2: a folder with one JSON file for each image, which lists the items of clothing in it.

Columns: `number` (the file's name), `source` (shop or user), `label`: `<pair_id>_<style>` of an item whose style is
greater than 0, that is, which occurs in other images; a row for each. An image without such items has one row, without
a label.

    Items(file="annos", image="image/{number}.jpg", label="{label}", keep={"label": "present"}, part="train")
"""

from pathlib import Path
from typing import Any, Literal

import polars as pl

from probe.data.labels import LISTS
from probe.data.readers.table import AGAIN, ROW, Table
from probe.data.readers.text import json_of
from probe.errors import UsageError


class Items(Table):
    """`file` is a folder."""

    kind: Literal["items"] = "items"

    def columns(self, path: Path) -> pl.DataFrame:
        files = sorted(path.glob("*.json"))
        if not files:
            raise UsageError(f"{path} holds no .json files; extract the annotations there.")
        images = [json_of(file) for file in files]
        labels = [_labels(image, file) for image, file in zip(images, files, strict=True)]
        frame = pl.DataFrame(
            {
                "number": [file.stem for file in files],
                "source": [str(image["source"]) for image in images],
                "label": pl.Series(labels, dtype=LISTS),
            }
        )
        return frame.with_row_index(ROW, 1).explode("label")


def _labels(image: Any, file: Path) -> list[str] | None:
    try:
        styles = {int(item["style"]) for key, item in image.items() if key.startswith("item")}
        pair, _ = int(image["pair_id"]), image["source"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{file} is not an annotation of DeepFashion2 ({error!r}); {AGAIN}.") from error
    return sorted(f"{pair}_{style}" for style in styles if style > 0) or None
