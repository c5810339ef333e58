"""A file of claims: each checked, by itself and against the recipes whose rows it compares.

read_recipe(Path("recipes/claims.yaml")).claims.recipes["uned_table4"]
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError

from probe.errors import UsageError, nearest
from probe.fit import SELECTING
from probe.metrics import MEAN, METRICS
from probe.recipes.claim import KINDS, Claim, Operand
from probe.recipes.display import PARAMETERS, VERDICTS, StaticDisplay
from probe.validation import Strict, describe

if TYPE_CHECKING:
    from probe.recipes.recipe import Recipe

PLACEHOLDER = "{}"
LEGEND = (
    "print: whether it holds of the printed numbers; here: of the measured ones. rows: the comparison that decides, "
    "with its difference in points and the p of a paired permutation test over queries; ≈: p >= 0.05."
)


class ClaimsRecipe(Strict):
    """The keys of a file of claims."""

    kind: Literal["claims"]
    title: str
    about: str = ""
    claims: Annotated[list[dict[str, Any]], Field(min_length=1)]
    """Each has the keys of its kind. With `each`, a list of names, it is a claim for each of them, which stands in the
    place of `{}` in all of its texts."""

    @property
    def display(self) -> StaticDisplay:
        return StaticDisplay(metrics=VERDICTS, description=LEGEND)


@dataclass(frozen=True)
class Claims:
    """Checked claims, and what they compare."""

    claims: Sequence[Claim]
    recipes: Mapping[str, "Recipe"]
    """By name."""


def read_claims(file: ClaimsRecipe, path: Path, find: Callable[[str], "Recipe"]) -> Claims:
    """`find`: a recipe beside the file, by name. Raises UsageError naming file, claim and key."""
    claims: dict[str, Claim] = {}
    recipes: dict[str, Recipe] = {}
    for where, fields in _expanded(file, path):
        claim = _read(fields, where)
        if claim.claim in claims:
            raise UsageError(f"{where} is there twice; with `each`, `{PLACEHOLDER}` tells claims apart.")
        claims[claim.claim] = claim
        for operand in claim.operands:
            if operand.recipe not in recipes:
                try:
                    recipes[operand.recipe] = find(operand.recipe)
                except UsageError as error:
                    raise UsageError(f"{where}: recipe: {error}") from error
            _require_known(operand, recipes[operand.recipe], where)
    return Claims(list(claims.values()), recipes)


def _expanded(file: ClaimsRecipe, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The fields of each claim, one for each name of `each`, and what errors call it."""
    for number, fields in enumerate(file.claims, 1):
        names = fields.get("each", [PLACEHOLDER])
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise UsageError(f"{path}: claim {number}: each: list the names that take the place of `{PLACEHOLDER}`.")
        for name in names:
            filled = _filled({key: value for key, value in fields.items() if key != "each"}, name)
            called = f"'{filled['claim']}'" if "claim" in filled else number
            yield f"{path}: claim {called}", filled


def _filled(given: Any, name: str) -> Any:
    """With the name in the place of PLACEHOLDER in all texts and keys."""
    if isinstance(given, dict):
        return {_filled(key, name): _filled(value, name) for key, value in given.items()}
    if isinstance(given, list):
        return [_filled(value, name) for value in given]
    return given.replace(PLACEHOLDER, name) if isinstance(given, str) else given


def _read(fields: dict[str, Any], where: str) -> Claim:
    kind = fields.get("kind")
    if kind is None:
        raise UsageError(f"{where}: 'kind' is missing, which says how it compares; known: {', '.join(sorted(KINDS))}.")
    if kind not in KINDS:
        raise UsageError(f"{where}: kind: there is no '{kind}'; {nearest(str(kind), KINDS)}")
    try:
        return KINDS[kind].model_validate(fields)
    except ValidationError as error:
        raise UsageError(f"{where}: {describe(error, KINDS[kind])}") from error


def _require_known(operand: Operand, recipe: "Recipe", where: str) -> None:
    """Raises UsageError for a row, a column or a metric that the recipe lacks, and for what a row never has."""
    file, rows = recipe.path.name, {row.name: row for row in recipe.rows}
    if operand.row not in rows:
        raise UsageError(f"{where}: {file} has no row '{operand.row}'; {nearest(operand.row, rows)}")
    if operand.metric not in (known := (*METRICS, *PARAMETERS)):
        raise UsageError(f"{where}: metric: there is no '{operand.metric}'; {nearest(operand.metric, known)}")
    row = rows[operand.row]
    columns = {MEAN, *recipe.columns.values()}
    if operand.metric in METRICS and recipe.columns and operand.column not in columns:
        raise UsageError(f"{where}: {file} has no column '{operand.column}'; {nearest(operand.column, columns)}")
    printed = row.relation.values(recipe.reference)
    if operand.printed_column is not None and operand.printed_column not in printed:
        near = nearest(operand.printed_column, printed)
        raise UsageError(f"{where}: printed_column: '{row.name}' has no printed '{operand.printed_column}'; {near}")
    if operand.split == "val" and operand.metric in METRICS and operand.metric not in SELECTING:
        raise UsageError(f"{where}: metric: validation computes {' and '.join(SELECTING)}, not {operand.metric}.")
    if operand.split == "val" and operand.index not in (None, "merged"):
        raise UsageError(f"{where}: index: validation searches the merged index alone; leave `index` out.")
    of_validation = operand.split == "val" or operand.statistic == "epoch"
    if of_validation and row.runs and (row.training is None or row.specialists):
        raise UsageError(f"{where}: '{row.name}' of {file} selects no epoch on validation.")
