"""DeepFashion2: a folder with one JSON file for each image, which lists the items of clothing in it.

Columns: `number` (the file's name), `source` (shop or user), `label`: `<pair_id>_<style>` of an item whose style is
greater than 0, that is, which occurs in other images; a row for each. An image without such items has one row, without
a label.

    Items.Config(file="annos", image="image/{number}.jpg", label="{label}", keep={"label": "present"}, part="train")
"""

from pathlib import Path
from typing import Any, ClassVar, Literal

import polars as pl

from probe.data.labels import LISTS
from probe.data.readers.base import AGAIN, READERS, ROW, Reader
from probe.data.readers.text import read_json
from probe.errors import UsageError


@READERS.register
class Items(Reader):
    """Hidden files (`._1.json`) are no part of the folder."""

    class Config(Reader.Config):
        is_folder: ClassVar[bool] = True

        kind: Literal["items"] = "items"

    def columns(self, path: Path) -> pl.DataFrame:
        files = sorted(file for file in path.glob("*.json") if not file.name.startswith("."))
        if not files:
            raise UsageError(f"{path} holds no .json files; extract the annotations there.")
        shown = [_shown(file) for file in files]
        frame = pl.DataFrame(
            {
                "number": [file.stem for file in files],
                "source": [source for source, _ in shown],
                "label": pl.Series([labels for _, labels in shown], dtype=LISTS),
            }
        )
        return frame.with_row_index(ROW, 1).explode("label")


def _shown(file: Path) -> tuple[str, list[str] | None]:
    """Where the image is from, and the labels of its items."""
    image: Any = read_json(file)
    try:
        styles = {int(item["style"]) for key, item in image.items() if key.startswith("item")}
        pair, source = int(image["pair_id"]), str(image["source"])
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise UsageError(f"{file} is not an annotation of DeepFashion2 ({error!r}); {AGAIN}.") from error
    return source, sorted(f"{pair}_{style}" for style in styles if style > 0) or None
