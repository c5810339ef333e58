"""A recipe: one YAML file that regenerates one table. Rows are small overrides of the defaults; no key is ignored.

`data`: what `probe extract DATA` takes. `backbones`: catalogue rows of the recipe's own. `rows`: each has a `name` and
any of `backbone`, `views`, `append`, `head`, `loss`, `training`, `seeds`, `printed` (its row in `reference`). A section
is merged into the default's; with another `kind`, it takes over the default's keys that this kind has too. A head that
is not trained has no use for the default `loss` and `training`; a trained one with no `training` has UniFEx's.

    recipe = read_recipe(Path("recipes/quickstart.yaml"))
    [row.name for row in recipe.rows]
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from probe.backbones.catalogue import Backbone, find_backbone
from probe.backbones.row import BackboneRow
from probe.data.sample import SAMPLE
from probe.errors import UsageError, nearest
from probe.extract.selection import Selection
from probe.fit.config import RunConfig, Seed, Training
from probe.heads.config import TRAINED, HeadConfig
from probe.losses.config import LossConfig
from probe.progress import say
from probe.tables.overrides import Overrides
from probe.tables.reference import Reference, read_reference
from probe.validation import Strict, describe, models_in, read_strict

Seeds = Annotated[list[Seed], Field(min_length=1)]
SECTIONS = ("head", "loss", "training")
KEYS_OF = {
    model.model_fields["kind"].default: model.model_fields.keys()
    for union in (HeadConfig, LossConfig)
    for model in models_in(union)
}


class _Row(Selection):
    name: str
    head: HeadConfig
    loss: LossConfig | None = None
    training: Training | None = None
    seeds: Seeds
    printed: str | None = None


class _Defaults(Strict):
    backbone: Any = None
    views: Any = None
    append: Any = None
    head: dict[str, Any] = Field(default_factory=dict)
    loss: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    seeds: Seeds = Field(default_factory=lambda: [0, 1, 2])


class _File(Strict):
    title: str
    about: str = ""
    data: str
    backbones: dict[str, BackboneRow] = Field(default_factory=dict)
    reference: str | None = None
    defaults: _Defaults = _Defaults()
    rows: Annotated[list[dict[str, Any]], Field(min_length=1)]


@dataclass(frozen=True)
class Row:
    """One row of the table: its runs differ in their seed only."""

    name: str
    backbones: list[Backbone]
    runs: list[RunConfig]
    printed: str | None

    @property
    def selection(self) -> Selection:
        """The features that all its runs read."""
        return self.runs[0]


@dataclass(frozen=True)
class Recipe:
    """A checked recipe. `about`: what is and is not comparable with the printed numbers.

    `options`: of the command line, that changed it from what its file says.
    """

    path: Path
    title: str
    about: str
    data: str
    rows: list[Row]
    reference: Reference | None
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def self_contained(self) -> bool:
        """Whether it runs on any machine as it is: bundled images, built-in backbones."""
        return self.data == SAMPLE and not any(backbone.needs_weights for backbone in self.backbones)

    @property
    def backbones(self) -> list[Backbone]:
        return list({backbone.name: backbone for row in self.rows for backbone in row.backbones}.values())


def find_recipes(paths: list[Path]) -> list[Path]:
    """The recipes named, and those in the folders named, in order. Raises UsageError where there are none."""
    found = [file for path in paths for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
    if not found:
        raise UsageError(f"there are no recipes (*.yaml) in {', '.join(map(str, paths))}; name a recipe.")
    return found


def read_recipe(path: Path, changes: Overrides | None = None) -> Recipe:
    """Reads and checks what can be checked without the data. Raises UsageError naming the file and the key.

    `changes` are said where a row keeps a value of its own.
    """
    file = read_strict(path, _File, "a recipe")
    reference = read_reference(path.parent / "reference" / file.reference) if file.reference else None
    changes = changes or Overrides()
    rows = [_row(path, fields, file, reference, changes) for fields in file.rows]
    names = [row.name for row in rows]
    if len(set(names)) < len(names):
        raise UsageError(f"{path}: two rows have the same name; names tell rows apart.")
    rows = _chosen(rows, changes, path)
    _require_taken(rows, {fields["name"]: fields for fields in file.rows}, changes, path)
    return Recipe(path, file.title, file.about, file.data, rows, reference, changes.words)


def _chosen(rows: list[Row], changes: Overrides, path: Path) -> list[Row]:
    """The rows that are asked for, in the recipe's order."""
    for name in changes.rows or []:
        names = [row.name for row in rows]
        if name not in names:
            raise UsageError(f"--row {name}: {path} has no such row; {nearest(name, names)}")
    return [row for row in rows if changes.rows is None or row.name in changes.rows]


def _require_taken(rows: list[Row], written: dict[str, dict[str, Any]], changes: Overrides, path: Path) -> None:
    """Raises UsageError for a setting that no row takes; says which rows keep their own. `written`: rows by name."""
    for section, key, value in changes.items():
        place = section if key is None else f"{section}.{key}"
        having = [row for row in rows if _has(row.runs[0], section, key)]
        keeping = [row for row in having if _is_written(written[row.name], section, key)]
        if len(keeping) == len(having):
            raise UsageError(f"--set {place}={value}: no row of {path} takes it.")
        for row in keeping:
            say(f"row '{row.name}' keeps its own {place}: {_value(row.runs[0], section, key)}")
    if changes.seeds is not None:
        for row in rows:
            if [run.seed for run in row.runs] != changes.seeds:
                say(f"row '{row.name}' keeps its own seeds: {', '.join(str(run.seed) for run in row.runs)}")


def _has(run: RunConfig, section: str, key: str | None) -> bool:
    """Whether there is such a key: a row without a loss has none of a loss, and not every kind has all of them."""
    return key is None or hasattr(getattr(run, section), key)


def _is_written(fields: dict[str, Any], section: str, key: str | None) -> bool:
    """Whether the row has a value of its own."""
    return section in fields if key is None else key in (fields.get(section) or {})


def _value(run: RunConfig, section: str, key: str | None) -> Any:
    part = getattr(run, section)
    return part if key is None else getattr(part, key)


def _row(path: Path, fields: dict[str, Any], file: _File, reference: Reference | None, changes: Overrides) -> Row:
    where = f"{path}: row '{fields.get('name', '?')}'"
    try:
        row = _Row.model_validate(_merged(fields, file.defaults.model_dump(), changes))
        runs = [
            RunConfig.model_validate(row.model_dump(exclude={"name", "seeds", "printed"}) | {"seed": seed})
            for seed in row.seeds
        ]
    except ValidationError as error:
        raise UsageError(f"{where}: {describe(error, _Row)}") from error
    if row.printed is not None and (reference is None or row.printed not in reference.rows):
        raise UsageError(f"{where}: printed: '{row.printed}' is no row of the recipe's reference file.")
    stores = dict.fromkeys(name for split in ("train", "test") for name in row.stores(split))
    return Row(row.name, [_backbone(name, file, path, where) for name in stores], runs, row.printed)


def _backbone(name: str, file: _File, path: Path, where: str) -> Backbone:
    try:
        return find_backbone(name, path if file.backbones else None)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def _merged(fields: dict[str, Any], defaults: dict[str, Any], changes: Overrides) -> dict[str, Any]:
    """The row's fields over the changes over the defaults."""
    settings = changes.settings
    defaults = defaults | {key: value for key, value in settings.items() if key in Selection.model_fields}
    defaults |= {"seeds": changes.seeds} if changes.seeds is not None else {}
    merged = {key: value for key, value in defaults.items() if value or key == "training"} | fields
    for section in SECTIONS:
        own, default, changed = fields.get(section), defaults[section], settings.get(section, {})
        if own is None and not changed:
            continue
        if own is None or isinstance(own, dict):
            merged[section] = _merged_section(own or {}, default, changed)
    trained = {head.model_fields["kind"].default for head in TRAINED}
    head = merged.get("head")
    if isinstance(head, dict) and head.get("kind") not in trained:
        merged = {key: value for key, value in merged.items() if key not in ("loss", "training") or key in fields}
    return merged


def _merged_section(own: dict[str, Any], default: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """Another kind takes over the keys that it has too; a change goes to the kinds that have its key."""
    base = default | changed
    known = KEYS_OF.get((base | own).get("kind"))
    if known is not None:
        other_kind = "kind" in own or "kind" in changed
        base = {key: value for key, value in base.items() if key in known or not (other_kind or key in changed)}
    return base | own
