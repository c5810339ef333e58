"""The near-duplicates that a training set is drawn without, by features that are on this machine, and what to extract
where they are not.

    finder = NearDuplicateFinder(read, workspace, "auto")
    finder.require_features(curation.sources)      # UsageError: ... First run: probe extract gldv2 --backbone clip-b16
    curate(curation, read, finder)
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from probe.backbones import Backbone, find_backbone
from probe.data import IMAGE, SPLITS, LeftOut, Manifest, NearDuplicates, Source, queries, training_rows
from probe.device import choose_device
from probe.errors import UsageError
from probe.extract import CachedFeatures, FeatureRows, MissingFeaturesError, Selection
from probe.planning.extraction import Extraction
from probe.progress import say, track_if_long
from probe.search import near_duplicates
from probe.workspace import Workspace


@dataclass(frozen=True)
class _Compared:
    """Images of a data set, by features of a backbone: those of some splits, or for None its queries."""

    data: str
    backbone: str
    splits: tuple[str, ...] | None


class NearDuplicateFinder:
    """Finds those of a source once, however many training sets draw from it.

    `read`: the name of a data set -> its manifest. `device`: where the queries of a benchmark are searched.
    """

    def __init__(self, read: Callable[[str], Manifest], workspace: Workspace, device: str) -> None:
        self._read, self._workspace, self._device = read, workspace, device
        self._features: dict[_Compared, CachedFeatures] = {}
        self._found: dict[tuple[_Compared, NearDuplicates], LeftOut] = {}

    def require_features(self, sources: Sequence[Source]) -> None:
        """Raises UsageError with the commands for all features that are missing."""
        reasons: dict[str, None] = {}
        lacking: dict[tuple[str, str], set[str]] = {}
        for compared in (each for source in sources for each in _compared(source)):
            try:
                self._joined(compared)
            except MissingFeaturesError as error:
                reasons |= dict.fromkeys(error.missing.values())
                splits = compared.splits or set(self._read(compared.data).splits) - {"train"}
                lacking.setdefault((compared.backbone, compared.data), set()).update(splits)
        if reasons:
            raise UsageError(f"{' '.join(reasons)} First run: {'; '.join(self._commands(lacking))}")

    def __call__(self, source: Source) -> LeftOut:
        """Raises MissingFeaturesError where features are missing."""
        rule = source.near_duplicates
        if rule is None:
            raise ValueError(f"{source.data} is drawn with its near-duplicates")
        images, *benchmark = _compared(source)
        if (images, rule) not in self._found:
            self._found[images, rule] = self._find(images, rule, *benchmark)
        return self._found[images, rule]

    def _find(self, compared: _Compared, rule: NearDuplicates, benchmark: _Compared | None = None) -> LeftOut:
        features = [self._joined(each) for each in (compared, benchmark) if each]
        images = _rows(features[0])
        queried = _rows(features[1]) if benchmark else None
        device, reason = choose_device(self._device)
        beside = f" and {len(queried.frame):,} queries of {rule.benchmark}" if queried else ""
        say(f"comparing {len(images.frame):,} images of {compared.data}{beside} on {device.type} ({reason})")
        with track_if_long(f"{compared.data} beside {rule.benchmark}", "comparisons") as on_progress:
            rows = near_duplicates(images, rule.cosine, queried, device, on_progress)
        return LeftOut(rows, ",".join(dict.fromkeys(each.identity["features"] for each in features)))

    def _joined(self, compared: _Compared) -> CachedFeatures:
        if compared not in self._features:
            manifest, name = self._read(compared.data), compared.backbone
            rows = queries(manifest) if compared.splits is None else training_rows(manifest, compared.splits)
            known = _bundled(name)
            asked = {name: known.identity() if known else {}}
            self._features[compared] = CachedFeatures(rows, Selection(backbone=name), asked, self._workspace)
        return self._features[compared]

    def _commands(self, lacking: Mapping[tuple[str, str], set[str]]) -> list[str]:
        """What extracts the splits that are lacking, by backbone and data set; those of equal splits at once."""
        together: dict[tuple[str, tuple[str, ...] | None], list[str]] = {}
        for (backbone, data), splits in lacking.items():
            whole = splits >= set(self._read(data).splits)
            key = backbone, None if whole else tuple(split for split in SPLITS if split in splits)
            together.setdefault(key, []).append(data)
        return [self._command(backbone, tuple(data), splits) for (backbone, splits), data in together.items()]

    def _command(self, name: str, data: tuple[str, ...], splits: tuple[str, ...] | None) -> str:
        backbone = _bundled(name)
        if backbone:
            return Extraction(backbone, data, splits).command(self._workspace)
        words = ["probe", "extract", *data, "--backbone", name]
        words += [word for split in splits or () for word in ("--split", split)]
        return f"{shlex.join(words + self._workspace.options('data_root', 'cache'))} (with the --catalogue that has it)"


def _compared(source: Source) -> list[_Compared]:
    """The source's images, and the queries of the benchmark; none where it is drawn with its near-duplicates."""
    rule = source.near_duplicates
    if rule is None:
        return []
    images = _Compared(source.data, rule.backbone, tuple(source.splits))
    return [images, *([_Compared(rule.benchmark, rule.backbone, None)] if rule.benchmark else [])]


def _bundled(backbone: str) -> Backbone | None:
    """None for one of the user's own catalogue."""
    try:
        return find_backbone(backbone)
    except UsageError:
        return None


def _rows(features: CachedFeatures) -> FeatureRows:
    """Those of all splits that have features; of queries, each image once."""
    frame = pl.concat([features.frame(split) for split in features.splits])
    if "train" not in features.splits:
        frame = frame.unique(IMAGE, maintain_order=True)
    return FeatureRows(frame, features.load(frame))
