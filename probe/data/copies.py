"""A source's images may lie in several folders, of which the first counts: which of the others has what is missing.

other_copy("gldv2", root, missing, wanted, data_root)
# "/data/landmarks has 3 of them: add --source-root gldv2=/data/landmarks"
"""

from collections.abc import Collection
from pathlib import Path

from probe.data.dataset import other_roots
from probe.data.images import missing_images


def other_copy(
    source: str,
    root: Path,
    missing: Collection[str],
    wanted: Collection[str],
    data_root: Path,
    datasets: Path | None = None,
) -> str | None:
    """Where images that are missing below `root` lie instead, with the option that leads there if none of all that are
    wanted is missing there; None where they lie nowhere else. `datasets`: the user's file of data sets."""
    for other in other_roots(source, root, data_root, datasets):
        there = len(missing) - len(missing_images(other, missing))
        if there:
            whole = not missing_images(other, wanted)
            remedy = f"add --source-root {source}={other}" if whole else f"put them into {root} too"
            return f"{other} has {there:,} of them: {remedy}"
    return None
