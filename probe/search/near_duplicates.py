"""Near-duplicates by features: images that are left out because another one that stays is almost the same picture.

Images come in the order of source and id. One is left out when its cosine to any of the queries is above the threshold,
or that to an earlier image of its class that stays (UnED, Sec. 3.1, thins classes so). So no two images of a class that
stay are near-duplicates, and what is left out has one that stays. Classes are not compared with each other: products
that look alike are what is to be told apart. Cosines are those of `search`, the same bits on any device.

    near = near_duplicates(FeatureRows(frame, features), 0.95, queries=None)
    near.select("image", "near_image", "cosine")
"""

import numpy as np
import polars as pl
import torch

from probe.data import CLASS, IMAGE
from probe.errors import UsageError
from probe.extract import FeatureRows
from probe.progress import OnProgress, counting, silent
from probe.search.batch import workers
from probe.search.exact import paired_similarities, search
from probe.search.vectors import Vectors

AT_ONCE = 64  # images of one class
SLACK = 1e-9  # far more than the rounding of a float64 product of unit vectors
READ = 16_384
NO_PAIRS = np.zeros((0, 2), np.int64)

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""(L,) int64 rows that are left out, (L,) int64 rows that they are near, (L,) float64 their cosines."""


def near_duplicates(
    images: FeatureRows,
    cosine: float,
    queries: FeatureRows | None,
    device: torch.device | str = "cpu",
    on_progress: OnProgress = silent,
) -> pl.DataFrame:
    """The rows of `images` (N) that are left out, sorted; no image is there twice in one class.

    Columns: those of IMAGE and CLASS; `near_source` and `near_image`, the nearest of the queries, or of the earlier
    images of the class that stay; `of_query`, which of the two; `cosine`. The queries (Q) are searched on the device;
    progress is of these N * Q comparisons. Raises UsageError for features that are zero or not finite.
    """
    order = images.frame.select(pl.struct(*IMAGE, *CLASS).arg_sort()).to_series().to_numpy().astype(np.int64)
    frame = images.frame[order]
    _refuse(images)
    of_queries = np.zeros(len(frame), bool)
    found = []
    if queries is not None:
        _refuse(queries)
        pairs = _near_queries(images.features[order], queries.features, cosine, torch.device(device), on_progress)
        of_queries[pairs[0]] = True
        found.append(_named(frame, queries.frame, pairs, of_query=True))
    pairs = _near_in_classes(frame, Vectors(images.features, order), np.flatnonzero(~of_queries), cosine)
    found.append(_named(frame, frame, pairs, of_query=False))
    return pl.concat(found).sort(*IMAGE, *CLASS)


def _near_queries(
    features: np.ndarray, queries: np.ndarray, cosine: float, device: torch.device, on_progress: OnProgress
) -> Pairs:
    """features (N, D), queries (Q, D)."""
    advance = counting(on_progress, len(features) * len(queries))
    vectors, index = (torch.from_numpy(each).to(device) for each in (features, queries))
    nearest = search(vectors, index, 1, NO_PAIRS, advance=advance)
    rows = np.flatnonzero(nearest.similarities[:, 0] > cosine)
    return rows, nearest.rows[rows, 0], nearest.similarities[rows, 0]


def _near_in_classes(frame: pl.DataFrame, features: Vectors, rows: np.ndarray, cosine: float) -> Pairs:
    """Among `rows` (n,) of the frame."""
    classes = frame[rows].select(pl.struct(CLASS).rank("dense")).to_series().to_numpy()
    by_class = np.argsort(classes, kind="stable")
    ends = np.flatnonzero(np.diff(classes[by_class])) + 1
    several = [of_class for of_class in np.split(rows[by_class], ends) if len(of_class) > 1]
    with workers(torch.device("cpu")) as (_, run):
        pairs = [
            pair
            for found in run(lambda of_class: _near_in_class(features, of_class, cosine), several)
            for pair in found
        ]
    left_out, near, cosines = zip(*pairs, strict=True) if pairs else ((), (), ())
    return np.array(left_out, np.int64), np.array(near, np.int64), np.array(cosines, np.float64)


def _near_in_class(features: Vectors, rows: np.ndarray, cosine: float) -> list[tuple[int, int, float]]:
    """Each row (n,) that is left out, with the nearest one that stays and their cosine."""
    found = []
    unit = features.take(rows).block(0, len(rows)).double()
    unit /= torch.linalg.vector_norm(unit, dim=1, keepdim=True)
    stays = np.zeros(len(rows), bool)
    for start in range(0, len(rows), AT_ONCE):
        some = np.arange(start, min(start + AT_ONCE, len(rows)))
        earlier = np.concatenate([np.flatnonzero(stays[:start]), some])
        products = (unit[some] @ unit[earlier].T).numpy()
        at, of = np.nonzero((products > cosine - SLACK) & (earlier < some[:, None]))
        stays[some] = True
        later, former = some[at], earlier[of]
        exact = paired_similarities(features.take(rows[later]), features.take(rows[former])) if len(at) else at
        later, former, exact = later[exact > cosine], former[exact > cosine], exact[exact > cosine]
        for first, last in zip(*_runs(later), strict=True):
            similar = first + np.flatnonzero(stays[former[first:last]])
            if len(similar):
                nearest = similar[exact[similar].argmax()]
                stays[later[first]] = False
                found.append((int(rows[later[first]]), int(rows[former[nearest]]), float(exact[nearest])))
    return found


def _runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where runs of equal values (n,) start, and where they end."""
    bounds = np.flatnonzero(np.diff(values, prepend=-1, append=-1)) if len(values) else values
    return bounds[:-1], bounds[1:]


def _named(frame: pl.DataFrame, others: pl.DataFrame, pairs: Pairs, *, of_query: bool) -> pl.DataFrame:
    left_out, near, cosines = pairs
    named = others[near].select(near_source="source", near_image="image")
    rows = frame[left_out].select(*IMAGE, *CLASS)
    return rows.hstack(named).with_columns(of_query=pl.lit(of_query), cosine=pl.Series(cosines, dtype=pl.Float64))


def _refuse(images: FeatureRows) -> None:
    """Raises UsageError that counts the images whose features have no direction, and names the first."""
    lengths = [
        np.linalg.norm(images.features[start : start + READ].astype(np.float64), axis=1)
        for start in range(0, len(images.features), READ)
    ]
    length = np.concatenate([np.zeros(0), *lengths])
    bad = np.flatnonzero(~((length > 0) & np.isfinite(length)))
    if len(bad):
        source, image = images.frame.select(IMAGE).row(int(bad[0]))
        raise UsageError(
            f"the features of {len(bad):,} image(s) are zero or not finite, the first of {source}/{image}, and have no "
            "direction to compare; extract them anew, or compare by another backbone."
        )
