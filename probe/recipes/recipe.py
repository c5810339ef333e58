"""A recipe: one YAML file that regenerates one table. Rows are small overrides of the defaults; no key is ignored.

`data`: what `probe extract DATA` takes; recipes of other kinds have none (probe/recipes/static.py). `backbones`:
catalogue rows of the recipe's own. `columns`: a domain's printed name. `show`: the metrics, index and protocol that the
table shows. `classes`: how many a model is trained on, for its size, where the data are not here. `rows`: each has a
`name`, `seeds`, what a run has (`backbone`, `head`, `loss`, `training`, `domain`, `distance`, ...), and what
probe/recipes/row.py adds: `specialists`, `train`, `printed`, `column`, `compared`, `because`. A section is merged into
the default's; with another `kind`, it takes over the default's keys that this kind has too. A head that is not trained
has no use for the default `loss` and `training`; a trained one with no `training` has UniFEx's. `based_on`: another
recipe, whose keys hold where this one has none; its rows are named (`- ArcFace`) or changed (`- {like: ArcFace,
printed: Arc}`).

    recipe = read_recipe(Path("recipes/quickstart.yaml"))
    [row.name for row in recipe.rows]
"""

import shlex
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PositiveInt

from probe.backbones.catalogue import Backbone, find_backbone
from probe.backbones.row import BackboneRow
from probe.data.sample import SAMPLE
from probe.errors import UsageError, nearest
from probe.fit.config import RunConfig
from probe.progress import say
from probe.recipes.display import Shown
from probe.recipes.overrides import PATHS, Overrides, no_such_setting
from probe.recipes.reference import MEAN, Reference, read_reference
from probe.recipes.row import Row, Seeds, read_row
from probe.recipes.static import (
    FILES,
    Counter,
    SettingsFile,
    StatisticsFile,
    printed_rows,
    settings_rows,
    statistics_rows,
)
from probe.validation import Strict, checked, read_keys


class _Defaults(Strict):
    train: Any = None
    backbone: Any = None
    views: Any = None
    append: Any = None
    distance: Any = None
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
    columns: dict[str, str] = Field(default_factory=dict)
    show: Shown = Shown()
    classes: PositiveInt | None = None
    defaults: _Defaults = _Defaults()
    rows: Annotated[list[dict[str, Any]], Field(min_length=1)]


@dataclass(frozen=True)
class Recipe:
    """A checked recipe. `about`: what is and is not comparable with the printed numbers.

    `data`: empty where there are no runs, and `counter` finds what the table shows. `columns`: the printed name of a
    domain, by domain. `classes`: for the size of a model. `options`: of the command line, that changed it from its
    file.
    """

    path: Path
    title: str
    about: str
    data: str
    rows: list[Row]
    reference: Reference | None
    columns: dict[str, str]
    show: Shown
    options: tuple[str, ...] = ()
    classes: int | None = None
    counter: Counter | None = None

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


FOLDER = Path("recipes")  # of the current folder


def find_recipe(named: Path) -> Path:
    """A recipe's file: itself, or the one of that name in `recipes/`. Raises UsageError, with the nearest name, where a
    name is none."""
    if named.exists() or named.suffix or len(named.parts) != 1:
        return named
    known = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    if named.name in known:
        return FOLDER / f"{named}.yaml"
    near = nearest(named.name, known) if known else f"there is no folder '{FOLDER}' here; name its file."
    raise UsageError(f"there is no recipe '{named}'; {near}")


def find_recipes(named: list[Path]) -> list[Path]:
    """The recipes named, and those in the folders named, in order. Raises UsageError where there are none."""
    paths = [find_recipe(path) for path in named]
    found = [file for path in paths for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
    if not found:
        raise UsageError(f"there are no recipes (*.yaml) in {', '.join(map(str, paths))}; name a recipe.")
    return list(dict.fromkeys(found))


def read_recipe(path: Path, changes: Overrides | None = None) -> Recipe:
    """Reads and checks what can be checked without the data. Raises UsageError naming the file and the key.

    `changes` are said where a row keeps a value of its own.
    """
    changes = changes or Overrides()
    own = read_keys(path, "a recipe")
    if "kind" in own:
        return _read_counted(path, own, changes)
    file, catalogue = _read(path, own)
    reference = _reference(path, file.reference) if file.reference else None
    defaults = file.defaults.model_dump()
    find = cache(partial(find_backbone, catalogue=catalogue))  # which reads the catalogue each time
    rows = [
        read_row(f"{path}: row '{fields.get('name', '?')}'", fields, defaults, find, reference, changes)
        for fields in file.rows
    ]
    names = [row.name for row in rows]
    if len(set(names)) < len(names):
        raise UsageError(f"{path}: two rows have the same name; names tell rows apart.")
    _require_specialists(rows, path)
    _require_columns(file.columns, None if any(row.comparison.column for row in rows) else reference, path)
    rows = _chosen(rows, changes, path)
    _require_taken(rows, {fields["name"]: fields for fields in file.rows}, changes, path)
    words, show = changes.words, file.show
    return Recipe(path, file.title, file.about, file.data, rows, reference, file.columns, show, words, file.classes)


def _reference(path: Path, name: str) -> Reference:
    return read_reference(path.parent / "reference" / name)


def _read_counted(path: Path, own: dict[str, Any], changes: Overrides) -> Recipe:
    """A recipe without runs, and without what could be changed of them."""
    kind = own["kind"]
    if kind not in FILES:
        raise UsageError(f"{path}: kind: there is no '{kind}'; {nearest(str(kind), FILES)}")
    if changes.words:
        raise UsageError(f"{path} has no runs that {shlex.join(changes.words)} could change.")
    file = checked(own, FILES[kind], path)
    reference = _reference(path, file.reference)
    if isinstance(file, StatisticsFile):
        rows, show, counter = statistics_rows(file, reference, path)
    elif isinstance(file, SettingsFile):
        rows, show, counter = settings_rows(file, read_recipe(path.parent / file.of).rows, reference, path)
    else:
        rows, show, counter = printed_rows(file, reference, path)
    return Recipe(path, file.title, file.about, "", rows, reference, {}, show, counter=counter)


def _read(path: Path, own: dict[str, Any]) -> tuple[_File, Path | None]:
    """The file, completed by the recipe that it is based on, and where its own backbones are written."""
    if "based_on" not in own:
        file = checked(own, _File, path)
        return file, path if file.backbones else None
    name = own.pop("based_on")
    if not isinstance(name, str):
        raise UsageError(f"{path}: based_on: name a recipe, a file beside this one (got {name!r}).")
    base_path = path.parent / name
    base = read_keys(base_path, f"the recipe that {path} is based on")
    if "based_on" in base:
        raise UsageError(f"{path}: based_on: {name} is itself based on {base['based_on']}; name that one.")
    rows = checked(base, _File, base_path).rows
    if "title" not in own:
        raise UsageError(f"{path}: 'title' is missing; it has one of its own.")
    if isinstance(own.get("rows"), list):
        own["rows"] = [_row_on(rows, row, path, name) for row in own["rows"]]
    file = checked(base | own, _File, path)
    return file, (path if "backbones" in own else base_path) if file.backbones else None


def _row_on(rows: list[dict[str, Any]], row: Any, path: Path, base: str) -> Any:
    """A row of the base, named or changed; any other is one of the recipe's own."""
    like = row.get("like") if isinstance(row, dict) else row if isinstance(row, str) else None
    if like is None:
        return row
    by_name = {str(fields.get("name")): fields for fields in rows}
    if not isinstance(like, str) or like not in by_name:
        raise UsageError(f"{path}: {base} has no row '{like}'; {nearest(str(like), by_name)}")
    changes = {key: value for key, value in row.items() if key != "like"} if isinstance(row, dict) else {}
    return by_name[like] | changes


def _require_specialists(rows: list[Row], path: Path) -> None:
    specialists = [row.name for row in rows if row.specialists]
    for row in rows:
        place = f"{path}: row '{row.name}': training.specialist_steps:"
        if row.steps_of is not None and row.specialists:
            raise UsageError(f"{place} specialists are what is measured; give them another sampler.")
        if row.steps_of is not None and row.steps_of not in specialists:
            near = nearest(row.steps_of, specialists) if specialists else "there is none here."
            raise UsageError(f"{place} '{row.steps_of}' is no row with `specialists: true`; {near}")


def _require_columns(columns: dict[str, str], reference: Reference | None, path: Path) -> None:
    """`reference`: where its columns are the table's, and no row names others."""
    for domain, column in columns.items():
        if reference and reference.domains and column not in reference.domains:
            near = nearest(column, reference.domains)
            raise UsageError(f"{path}: columns.{domain}: '{column}' is no column of {reference.path}; {near}")
    if len(set(columns.values())) < len(columns):
        raise UsageError(f"{path}: columns: two domains have the same column.")


def require_own_columns(recipe: Recipe, domains: Iterable[str]) -> None:
    """Raises UsageError where two domains of the data, or one and the mean, would share a column."""
    taken = {MEAN: MEAN}
    for domain in domains:
        column = recipe.columns.get(domain, domain)
        if column in taken:
            where = f"{recipe.path}: columns: '{domain}' would be shown as '{column}', which is the column of"
            raise UsageError(f"{where} '{taken[column]}'; give it a name of its own.")
        taken[column] = domain


def _chosen(rows: list[Row], changes: Overrides, path: Path) -> list[Row]:
    """The rows that are asked for and those that they wait for, in the recipe's order."""
    for name in changes.rows or []:
        names = [row.name for row in rows]
        if name not in names:
            raise UsageError(f"--row {name}: {path} has no such row; {nearest(name, names)}")
    if changes.rows is None:
        return rows
    needed = {row.steps_of for row in rows if row.name in changes.rows and row.steps_of} - set(changes.rows)
    for name in sorted(needed):
        say(f"row '{name}' is taken too: the steps of its specialists are needed")
    return [row for row in rows if row.name in {*changes.rows, *needed}]


def _require_taken(rows: list[Row], written: dict[str, dict[str, Any]], changes: Overrides, path: Path) -> None:
    """Raises UsageError for a setting that no row takes; says which rows keep their own. `written`: rows by name."""
    rows = [row for row in rows if row.runs]
    for section, key, value in changes.items():
        place = section if key is None else f"{section}.{key}"
        having = [row for row in rows if _has(row.runs[0], section, key)]
        if not having and place not in PATHS:
            own = {f"{section}.{name}" for row in rows for name in _fields(row.runs[0], section)}
            raise no_such_setting(f"{place}={value}", place, {*PATHS, *own})
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
    return key is None or key in _fields(run, section)


def _fields(run: RunConfig, section: str) -> Collection[str]:
    part = getattr(run, section)
    return () if part is None else type(part).model_fields


def _is_written(fields: dict[str, Any], section: str, key: str | None) -> bool:
    """Whether the row has a value of its own."""
    return section in fields if key is None else key in (fields.get(section) or {})


def _value(run: RunConfig, section: str, key: str | None) -> Any:
    part = getattr(run, section)
    return part if key is None else getattr(part, key)
