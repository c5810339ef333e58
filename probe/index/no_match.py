"""Which hits are none: a threshold of similarity by conformal prediction, of whose queries classes are exchangeable.

Of calibration queries that the index has nothing of, the best similarities are known. Images of one class are alike, so
that what a further query is exchangeable with are classes, not queries (hierarchical conformal prediction: Lee, Barber
and Willett 2023). With K classes, each query weighs 1 / (K + 1) over the queries of its class; the threshold is the
smallest similarity up to which the weights sum to 1 - rate: a query of a further class surpasses it with a probability
of at most `rate`, whatever the similarities are distributed like.

    record = calibrated(state, embedder, "pocket", "val", None, data_root, show_progress=True)     # for the manifest
    threshold(state, 0.05)
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from probe.data import resolve_data
from probe.embed import Embedder, GivenImage
from probe.errors import UsageError
from probe.index.manifest import NoMatchRecord
from probe.index.query import Query, vectors_of
from probe.index.searching import search_state, with_same_files
from probe.index.state import State
from probe.progress import track

MOST = 1000  # calibration queries
ROUNDING = 1e-9


def conformal_threshold(scores: Sequence[float], classes: Sequence[int], rate: float) -> float:
    """Of ascending scores (n,) and the class of each, by number. Raises UsageError for a rate that the classes are too
    few for, or that is none."""
    if not 0 < rate < 1:
        raise UsageError(f"a false-match rate of {rate:g} cannot be promised; name one between 0 and 1, as 0.05.")
    sizes = Counter(classes)
    weights = np.array([1 / (len(sizes) + 1) / sizes[each] for each in classes])
    reached = np.flatnonzero(weights.cumsum() >= 1 - rate - ROUNDING)
    if not len(reached):
        raise UsageError(
            f"calibration queries of {len(sizes):,} classes cannot promise a rate of {rate:g}; name one of "
            f"{1 / (len(sizes) + 1):.2g} or more, or calibrate on more classes."
        )
    return scores[int(reached[0])]


def threshold(state: State, rate: float) -> float:
    """Of an index that is calibrated; raises UsageError for one that is not, or was when it had other rows."""
    record = state.manifest.no_match
    if record is None:
        raise UsageError(
            f"{state.folder} is not calibrated, so nothing is known of false matches; use `probe index calibrate`."
        )
    if len(record.classes) != len(record.scores):
        raise UsageError(f"{state.folder} was calibrated before classes counted; calibrate it again.")
    if record.rows != state.manifest.rows:
        raise UsageError(
            f"{state.folder} was calibrated with {record.rows:,} rows and has {state.manifest.rows:,}; calibrate it "
            "again, as the best of more rows is more similar."
        )
    return conformal_threshold(record.scores, record.classes, rate)


def calibrated(
    state: State,
    embedder: Embedder,
    data: str,
    split: str,
    domain: str | None,
    data_root: Path,
    show_progress: bool,
) -> NoMatchRecord:
    """The best similarities of a data set's queries, each among the rows that are not of its class.

    Raises UsageError for data without such queries, and for a state without rows.
    """
    if not state.manifest.rows:
        raise UsageError(f"{state.folder} has no rows to calibrate by; add some first.")
    images = _images(data, split, domain, data_root)
    queries = [Query(image.name, [image]) for image, _, _ in images]
    with track("embed", len(queries), "images", shown=show_progress) as advance:
        vectors = vectors_of(queries, embedder, advance)
    exclude = with_same_files(state, queries, [state.ids_of_class(label, domain) for _, label, domain in images])
    found = search_state(state, vectors, 1, None, exclude, exact=True).sort("similarity")
    numbers = {each: number for number, each in enumerate(dict.fromkeys(image[1:] for image in images))}
    return NoMatchRecord(
        data=data,
        split=split,
        domain=domain,
        rows=state.manifest.rows,
        scores=tuple(found["similarity"]),
        classes=tuple(numbers[images[query][1:]] for query in found["query"]),
    )


def _images(data: str, split: str, domain: str | None, data_root: Path) -> list[tuple[GivenImage, str, str]]:
    """Queries of a data set, or of one domain of it, at most MOST, with label and domain. Raises UsageError where there
    are none."""
    manifest = resolve_data(data, data_root)
    rows = manifest.frame.filter((pl.col("split") == split) & pl.col("role").is_in(["query", "both"]))
    if domain is not None:
        known = rows["domain"].unique().sort().to_list()
        rows = rows.filter(pl.col("domain") == domain)
        if known and rows.is_empty():
            raise UsageError(f"{data} has no queries of a domain '{domain}'; its domains are: {', '.join(known)}.")
    rows = rows.unique(["source", "image"], keep="first", maintain_order=True)
    if rows.is_empty():
        raise UsageError(f"{data} has no queries in its split '{split}'; name other data or another split.")
    if len(rows) > MOST:
        rows = rows[np.sort(np.random.default_rng(0).choice(len(rows), MOST, replace=False))]
    if isinstance(rows.schema["label"], pl.List):
        rows = rows.with_columns(pl.col("label").list.first())
    found = []
    for row in rows.iter_rows(named=True):
        image = GivenImage(f"{row['source']}/{row['image']}", (manifest.roots[row["source"]], row["image"]))
        found.append((image, row["label"], row["domain"]))
    return found
