"""A recipe: one YAML file that regenerates one table. Rows are small overrides of the defaults.

A key that is not known is an error, and so is an option that means nothing beside the others. A section of a row is
merged into the default's; with another `kind`, it takes over the default's keys that this kind has too. A head that is
not trained has no use for the default `loss` and `training`. Rows of a recipe that is `based_on` another are named
(`- ArcFace`) or changed (`- {like: ArcFace, printed: Arc}`). All keys: docs/recipes.md.

    recipe = read_recipe(Path("recipes/quickstart.yaml"))
    [row.name for row in recipe.rows]
"""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PositiveInt

from probe.backbones import Backbone, BackboneRow, find_backbone
from probe.data import SAMPLE
from probe.errors import UsageError, nearest
from probe.fit import RunConfig
from probe.progress import say
from probe.recipes.claims import Claims, ClaimsRecipe, read_claims
from probe.recipes.difference import Difference, DifferenceFile, checked_differences
from probe.recipes.display import VALIDATION, Display
from probe.recipes.overrides import PATHS, Overrides, no_such_setting
from probe.recipes.printed import MEAN, PrintedValues, read_printed_values
from probe.recipes.row import PrintedRelation, Row, Seeds, read_row
from probe.recipes.static import (
    STATIC_RECIPES,
    SettingsRecipe,
    StaticSource,
    StatisticsRecipe,
    printed_table,
    settings_table,
    statistics_table,
)
from probe.validation import Strict, checked, read_keys
from probe.workspace import BUNDLED_RECIPES, RECIPES, or_bundled

CLAIMS = "claims"  # a kind of recipe


class Defaults(Strict):
    """What the rows have unless they say otherwise; checked with each row."""

    train: Any = None
    backbone: Any = None
    views: Any = None
    append: Any = None
    distance: Any = None
    head: dict[str, Any] = Field(default_factory=dict)
    loss: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    seeds: Seeds = Field(default_factory=lambda: [0, 1, 2])


class RecipeFile(Strict):
    """The keys of a recipe's file. Recipes without runs have others (probe/recipes/static.py)."""

    title: str
    about: str = ""
    data: str
    """What `probe extract DATA` takes."""
    backbones: dict[str, BackboneRow] = Field(default_factory=dict)
    """Catalogue rows of the recipe's own."""
    reference: str | None = None
    """The file of printed values, in `reference/` beside the recipe."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Domain -> its printed name."""
    show: Display = Display()
    classes: PositiveInt | None = None
    """How many a model is trained on, to count its parameters where the data are not here."""
    defaults: Defaults = Defaults()
    rows: Annotated[list[dict[str, Any]], Field(min_length=1)]
    """Each has a `name` and the keys of RowFile (probe/recipes/row.py)."""
    differences: list[DifferenceFile] = Field(default_factory=list)
    """Of two rows each; they stand below the rows."""


@dataclass(frozen=True)
class Recipe:
    """A checked recipe."""

    path: Path
    title: str
    about: str
    """What is and is not comparable with the printed numbers."""
    data: str
    """Empty where there are no runs."""
    rows: list[Row]
    reference: PrintedValues | None
    columns: dict[str, str]
    """Domain -> its printed name."""
    display: Display
    options: tuple[str, ...] = ()
    """Command-line options that changed the recipe."""
    classes: int | None = None
    """How many a model is trained on, to count its parameters where the data are not here."""
    static: StaticSource | None = None
    """Where the values of a table without runs come from."""
    differences: list[Difference] = field(default_factory=list)
    """Of the rows that are there."""
    claims: Claims | None = None
    """What the rows state, in a table of claims."""

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


def find_recipe(named: Path) -> Path:
    """A recipe's file, or a folder of them: the path itself, or the file of that name in `recipes/`; what is not there
    comes with probe. Raises UsageError, with the nearest name, where there is none of that name."""
    path = or_bundled(named)
    if path.exists() or named.suffix or len(named.parts) != 1:
        return path
    file = or_bundled(RECIPES / f"{named}.yaml")
    if file.exists():
        return file
    known = sorted({path.stem for folder in (RECIPES, BUNDLED_RECIPES) for path in folder.glob("*.yaml")})
    raise UsageError(f"there is no recipe '{named}'; {nearest(named.name, known)}")


def find_recipes(named: list[Path] | None) -> list[Path]:
    """Recipes by name or file, and all of those in folders, in order; by default, of `recipes/`. Raises UsageError
    where there are none."""
    paths = [find_recipe(path) for path in named or [RECIPES]]
    found = [file for path in paths for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
    if not found:
        raise UsageError(f"there are no recipes (*.yaml) in {', '.join(map(str, paths))}; name a recipe.")
    return list(dict.fromkeys(found))


def read_recipe(path: Path, changes: Overrides | None = None) -> Recipe:
    """Reads a recipe and checks what can be checked without the data. Raises UsageError naming the file and the key.

    A row that has a value of its own keeps it, whatever the `changes`; a line on the screen says so.
    """
    changes = changes or Overrides()
    own = read_keys(path, "a recipe")
    if "kind" in own:
        return _read_static(path, own, changes)
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
    _require_collection(rows, file.data, path)
    differences = checked_differences(file.differences, [row.name for row in rows if row.runs], reference, str(path))
    own_columns = any(line.relation.column for line in (*rows, *differences))
    _require_columns(file.columns, None if own_columns else reference, path)
    if "show" in own:  # another recipe's marks hold as far as there are such groups
        file.show.require_groups(set(reference.groups.values()) if reference else set(), f"{path}: show")
    rows = _requested_rows(rows, changes, path)
    _require_effect(rows, {fields["name"]: fields for fields in file.rows}, changes, path)
    return Recipe(
        path,
        file.title,
        file.about,
        file.data,
        rows,
        reference,
        file.columns,
        file.show,
        changes.options,
        file.classes,
        differences=[found for found in differences if {found.of, found.minus} <= {row.name for row in rows}],
    )


def _reference(path: Path, name: str) -> PrintedValues:
    return read_printed_values(path.parent / "reference" / name)


def _read_static(path: Path, own: dict[str, Any], changes: Overrides) -> Recipe:
    """A recipe without runs. Raises UsageError for changes, which are of runs."""
    kind = own["kind"]
    if kind not in (kinds := [*STATIC_RECIPES, CLAIMS]):
        raise UsageError(f"{path}: kind: there is no '{kind}'; {nearest(str(kind), kinds)}")
    if changes.options:
        raise UsageError(f"{path} has no runs that {shlex.join(changes.options)} could change.")
    if kind == CLAIMS:
        return _read_claims(path, own)
    file = checked(own, STATIC_RECIPES[kind], path)
    reference = _reference(path, file.reference)
    if isinstance(file, StatisticsRecipe):
        table = statistics_table(file, reference, path)
    elif isinstance(file, SettingsRecipe):
        table = settings_table(file, read_recipe(path.parent / file.of).rows, reference, path)
    else:
        table = printed_table(file, reference, path)
    return Recipe(path, file.title, file.about, "", table.rows, reference, {}, table.display, static=table.source)


def _read_claims(path: Path, own: dict[str, Any]) -> Recipe:
    file = checked(own, ClaimsRecipe, path)
    claims = read_claims(file, path, partial(_compared, path.parent))
    rows = [Row(claim.claim, [], [], PrintedRelation()) for claim in claims.claims]
    return Recipe(path, file.title, file.about, "", rows, None, {}, file.display, claims=claims)


def _compared(folder: Path, name: str) -> Recipe:
    """A recipe whose rows a claim compares. Raises UsageError where there is none of that name."""
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise UsageError(f"there is no recipe '{name}' beside it; {nearest(name, known)}")
    path = folder / f"{name}.yaml"
    if read_keys(path, "a recipe").get("kind") == CLAIMS:
        raise UsageError(f"{path} holds claims itself; name recipes whose rows have values.")
    return read_recipe(path)


def _read(path: Path, own: dict[str, Any]) -> tuple[RecipeFile, Path | None]:
    """The file, completed by the recipe that it is based on, and the file with its own backbones."""
    if "based_on" not in own:
        file = checked(own, RecipeFile, path)
        return file, path if file.backbones else None
    name = own.pop("based_on")
    if not isinstance(name, str):
        raise UsageError(f"{path}: based_on: name a recipe, a file beside this one (got {name!r}).")
    base_path = path.parent / name
    base = read_keys(base_path, f"the recipe that {path} is based on")
    if "based_on" in base:
        raise UsageError(f"{path}: based_on: {name} is itself based on {base['based_on']}; name that one.")
    rows = checked(base, RecipeFile, base_path).rows
    if "title" not in own:
        raise UsageError(f"{path}: 'title' is missing; it has one of its own.")
    if isinstance(own.get("rows"), list):
        own["rows"] = [_based_row(rows, row, path, name) for row in own["rows"]]
    file = checked(base | own, RecipeFile, path)
    return file, (path if "backbones" in own else base_path) if file.backbones else None


def _based_row(rows: list[dict[str, Any]], row: Any, path: Path, base: str) -> Any:
    """A row of the base recipe, where `row` names or changes one; else the recipe's own."""
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


def _require_collection(rows: list[Row], data: str, path: Path) -> None:
    for row in rows:
        if row.collection not in (None, data):
            raise UsageError(
                f"{path}: row '{row.name}': head.fit_to: '{row.collection}' is not what the recipe is scored on; name "
                f"'{data}', and with `train` the data of whose classes the head is made."
            )


def _require_columns(columns: dict[str, str], reference: PrintedValues | None, path: Path) -> None:
    """`reference`: the file whose columns are the table's; None where rows name columns of their own."""
    for domain, column in columns.items():
        if reference and reference.domains and column not in reference.domains:
            near = nearest(column, reference.domains)
            raise UsageError(f"{path}: columns.{domain}: '{column}' is no column of {reference.path}; {near}")
    if len(set(columns.values())) < len(columns):
        raise UsageError(f"{path}: columns: two domains have the same column.")


def require_distinct_columns(recipe: Recipe, domains: Iterable[str]) -> None:
    """Raises UsageError where two domains of the data, or one and a mean, would share a column."""
    taken = {MEAN: MEAN} | ({VALIDATION: VALIDATION} if recipe.display.validation else {})
    for domain in domains:
        column = recipe.columns.get(domain, domain)
        if column in taken:
            where = f"{recipe.path}: columns: '{domain}' would be shown as '{column}', which is the column of"
            raise UsageError(f"{where} '{taken[column]}'; give it a name of its own.")
        taken[column] = domain


def _requested_rows(rows: list[Row], changes: Overrides, path: Path) -> list[Row]:
    """The rows of `--row` and the rows of specialists that they wait for, in the recipe's order."""
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


def _require_effect(rows: list[Row], written: dict[str, dict[str, Any]], changes: Overrides, path: Path) -> None:
    """Raises UsageError for a setting that no row takes; says which rows keep their own. `written`: the rows of the
    file, by name."""
    rows = [row for row in rows if row.runs]
    for section, key, value in changes.items():
        place = section if key is None else f"{section}.{key}"
        having = [row for row in rows if _has(row.runs[0], section, key)]
        if not having and place not in PATHS:
            own = {f"{section}.{name}" for row in rows for name in _written(row.runs[0], section)}
            raise no_such_setting(f"{place}={value}", place, {*PATHS, *own})
        keeping = [row for row in having if _is_written(written[row.name], section, key)]
        if len(keeping) == len(having):
            raise UsageError(f"--set {place}={value}: no row of {path} takes it.")
        for row in keeping:
            say(f"row '{row.name}' keeps its own {place}: {_value(row.runs[0], section, key)}")
    if changes.seeds is not None:
        for row in rows:
            if [run.seed for run in row.runs] != changes.seeds:
                own = f"keeps its own seeds: {', '.join(str(run.seed) for run in row.runs)}"
                has_own = "seeds" in written[row.name]
                say(f"row '{row.name}' {own if has_own else 'has one run, since nothing of it is drawn'}")


def _has(run: RunConfig, section: str, key: str | None) -> bool:
    """Whether the run has the key: a row without a loss has no keys of a loss, and kinds have different keys."""
    return key is None or key in _written(run, section)


def _is_written(fields: dict[str, Any], section: str, key: str | None) -> bool:
    """Whether the row has a value of its own."""
    return section in fields if key is None else key in (fields.get(section) or {})


def _value(run: RunConfig, section: str, key: str | None) -> Any:
    return getattr(run, section) if key is None else _written(run, section)[key]


def _written(run: RunConfig, section: str) -> dict[str, Any]:
    """The keys of a section as a file would have them; empty where the run has no such section."""
    part: Strict | None = getattr(run, section, None)
    return {} if part is None else part.model_dump()
