"""A head in closed form, fitted on the training images.

head = fit_in_closed_form(config, data)
head(features)      # (B, D) -> (B, d)
"""

from collections.abc import Iterator
from functools import partial

import polars as pl
import torch

from probe.fit.config import ClosedFormConfig
from probe.fit.data import FitData, SplitRows
from probe.heads import ClosedFormHead, TrainingImages, build_head


def fit_in_closed_form(config: ClosedFormConfig, data: FitData, images: TrainingImages | None = None) -> ClosedFormHead:
    """On the device of the data, random draws from the run's seed. `images`: those of the data, where several heads
    are fitted, which share what they compute. Raises UsageError for a head that these images cannot fit."""
    generator = torch.Generator(data.device).manual_seed(config.seed)
    head = build_head(config.head, data.train.dim, generator).to(data.device)
    if not config.head.fitted:
        return head
    return head.fit(images or images_of_training(data, bool(config.head.collection)))


def images_of_training(data: FitData, with_collection: bool = False) -> TrainingImages:
    """With the index images of test, where they are wanted."""
    collection = partial(_index_images, data.test) if with_collection else None
    return TrainingImages(data.labels, data.rows_of_domain(), data.train.take, data.train.blocks, collection)


def _index_images(rows: SplitRows) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Rows and features of the images that are searched, each once, block by block."""
    index = pl.col("role").is_in(["index", "both"])
    first = rows.frame.select((index & pl.struct("source", "image", index).is_first_distinct()).alias("kept"))
    kept = torch.from_numpy(first["kept"].to_numpy()).to(rows.device)
    for positions, block in rows.blocks():
        here = kept[positions]
        yield positions[here], block[here]
