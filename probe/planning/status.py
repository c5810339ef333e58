"""How a recipe stands on this machine beyond its table: what is stale, and how long the missing takes.

Status(workspace).of(build_table(bench), bench).stale     # ["stale: 3 run(s) of ArcFace were made with other features"]
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache, partial

import polars as pl

from feature_cache import FeatureStore, StoreError
from probe.data.manifest import SPLITS, Manifest
from probe.extract.speed import read_speeds
from probe.planning.duration import USUAL_DIM, Estimate, Estimator, Wanted
from probe.planning.extraction import Extraction
from probe.planning.inventory import Bench
from probe.planning.size import Size, images_of, printed_size, size_of_manifest
from probe.recipes.row import Row
from probe.report.table import Table
from probe.runs.directory import Run
from probe.runs.index import PastRuns
from probe.workspace import Workspace


class Status:
    """Of all recipes of a command: looks at runs, and counts data, once."""

    def __init__(self, workspace: Workspace) -> None:
        self._past = PastRuns(workspace.runs)
        self._estimator = Estimator(self._past, read_speeds(workspace.cache))
        self._printed = cache(partial(printed_size, datasets=workspace.datasets))
        self._sizes: dict[int, tuple[Manifest, Size]] = {}
        self._images: dict[tuple[int, tuple[str, ...]], tuple[Manifest, dict[str, pl.DataFrame]]] = {}

    def of(self, table: Table, bench: Bench) -> Table:
        """The table with its `stale` and `times`."""
        todo = [(row, run) for row in bench.recipe.rows for run in self._todo(row, bench)]
        if not todo:
            return table
        times: dict[str, Estimate | None] = {
            command: self._extraction(extraction, bench) for command, extraction in bench.extractions.items()
        }
        if bench.fit_command in table.needs:
            times[bench.fit_command] = self._estimator.runs([self._wanted(row, run, bench) for row, run in todo])
        return replace(table, stale=self._stale(todo), times=times)

    def _todo(self, row: Row, bench: Bench) -> Iterator[Run]:
        """The runs that are not done; where their features are not here, with inputs that are not known."""
        if runs := bench.runs_of[row.name]:
            yield from (run for run in runs if not run.done)
        elif row.runs:
            size = self._size(row, bench)
            for config in row.configs(list(size.train) if size else [], None):
                yield bench.run(row, config, {})

    def _stale(self, todo: list[tuple[Row, Run]]) -> list[str]:
        found: dict[str, list[str]] = {}
        for row, run in todo:
            if reason := self._past.superseded(run):
                found.setdefault(reason, []).append(row.name)
        return [
            f"stale: {len(rows)} run(s) of {', '.join(dict.fromkeys(rows))} were made with {reason}"
            for reason, rows in found.items()
        ]

    def _wanted(self, row: Row, run: Run, bench: Bench) -> Wanted:
        features = bench.features.get(row.features_name)
        dims = [backbone.row.dim or USUAL_DIM for backbone in row.backbones]
        dim = features.dim if features else sum(dims) // (2 if row.selection.views else 1)
        return Wanted(run, dim, self._size(row, bench))

    def _extraction(self, extraction: Extraction, bench: Bench) -> Estimate | None:
        """Of the images that its stores lack."""
        images, splits = 0, extraction.splits or SPLITS
        for name in extraction.data:
            if name in bench.data:
                found = self._images_of(bench.data[name], splits)
                images += _lacking(found, extraction.backbone.name, bench.workspace)
            elif size := self._printed(name):
                images += size.images(splits)
            else:
                return None
        return self._estimator.extraction(extraction.backbone, images)

    def _size(self, row: Row, bench: Bench) -> Size | None:
        """Of what the row is trained on, and scored on."""
        if features := bench.features.get(row.features_name):
            return self._size_of(features.manifest)
        own = self._size_of(bench.manifest) if bench.manifest else self._printed(bench.recipe.data)
        if row.train is None or own is None:
            return own
        training = self._printed(row.train)
        return None if training is None else replace(own, train=training.train)

    def _size_of(self, manifest: Manifest) -> Size:
        if id(manifest) not in self._sizes:
            self._sizes[id(manifest)] = manifest, size_of_manifest(manifest)
        return self._sizes[id(manifest)][1]

    def _images_of(self, manifest: Manifest, splits: tuple[str, ...]) -> dict[str, pl.DataFrame]:
        key = id(manifest), splits
        if key not in self._images:
            self._images[key] = manifest, images_of(manifest, splits)
        return self._images[key][1]


def _lacking(images: Mapping[str, pl.DataFrame], backbone: str, workspace: Workspace) -> int:
    """How many of the images of each source its store lacks; those that could not be decoded are not tried again."""
    lacking = 0
    for source, of_source in images.items():
        try:
            store = FeatureStore(workspace.store(source, backbone))
            known = [*store.ids, *(failure.id for failure in store.failed)]
        except StoreError:  # absent, or damaged, which is said elsewhere
            known = []
        there = pl.DataFrame({"image": known}, {"image": pl.String})
        lacking += of_source.join(there, on="image", how="anti").height
    return lacking
