"""Verdicts on claims: whether what a paper says holds of its printed numbers, and of those that are measured here.

A claim of several comparisons holds where all of them do. The one that decides is told: of those that fail the
clearest, else the least sure, whose p is that of the whole (all must hold: nothing is corrected for their number).

    check_claims(inventory)[0].measured.verdict                     # Verdict.HOLDS
    claims_table(inventory).rows[0].cell("here", "here").text       # "holds ≈"
"""

import math
import shlex
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from probe.metrics import MEAN, METRICS
from probe.planning import Inventory
from probe.recipes import PARAMETERS, VERDICTS, Claim, Combination, Operand, PrintedRelation, Row
from probe.report.claim_tests import ClaimTests, MeasuredRuns
from probe.report.significance import LEVEL
from probe.report.table import Cell, Table, TableRow, oracle_scores, seed_folders, size_cells
from probe.runs import Run
from probe.workspace import as_named

PRINT, HERE, DIFFERENCE, P, ROWS = VERDICTS
UNSURE = "≈"
DEFAULT_INDEX = "the index shown first"


class Verdict(StrEnum):
    HOLDS = "holds"
    FAILS = "does not hold"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Judgement:
    """Of one claim, by printed or by measured values."""

    verdict: Verdict
    amount: float = math.nan
    """Of the comparison that decides: in points, epochs or parameters, or a rank correlation."""
    of: Combination | None = None
    """The comparison that decides; None of a rank correlation."""
    p: float | None = None
    """Two-sided; None where nothing can be tested."""
    missing: str = ""
    """What is not measured, in few words."""


@dataclass(frozen=True)
class CheckedClaim:
    claim: Claim
    printed: Judgement | None
    """None where not all that is compared is printed."""
    measured: Judgement
    measurable: bool
    """Whether none of its rows is printed only."""

    @property
    def unsure(self) -> bool:
        """Whether the verdict is that of a difference that may be chance; "not below" holds without any."""
        no_difference_needed = self.claim.least is not None and self.measured.verdict == Verdict.HOLDS
        of_sign = self.claim.is_of_sign and not no_difference_needed
        return of_sign and self.measured.p is not None and self.measured.p >= LEVEL


def check_claims(inventory: Inventory, tests: ClaimTests) -> list[CheckedClaim]:
    """The verdicts on all claims of a recipe of claims, in its order."""
    values = _Values(inventory.compared)
    claims = inventory.recipe.claims.claims if inventory.recipe.claims else ()
    return [_checked(claim, values, tests) for claim in claims]


def claims_table(inventory: Inventory) -> Table:
    """A row a claim, in groups by place: the verdicts, and of the comparison that decides difference, p and rows."""
    recipe, workspace = inventory.recipe, inventory.workspace
    tests = ClaimTests(workspace.tables / ".significance" / f"{recipe.name}.json")
    checked = check_claims(inventory, tests)
    tests.write()
    commands = []
    if any(each.measurable and each.measured.missing for each in checked):
        options = workspace.options("data_root", "cache", "out")
        commands.append(shlex.join(["probe", "plan", str(as_named(recipe.path)), *options]))
    notes = [
        f"not borne out by the print: {each.claim.claim}: {_text(each.claim, each.printed)} of {_rows(each.printed)}"
        for each in checked
        if each.printed and each.printed.verdict == Verdict.FAILS
    ]
    return Table(recipe, [], list(VERDICTS), [_row(each) for each in checked], [], [], commands, [*notes, *tests.notes])


class _Values:
    """What is printed and what is measured of the rows that claims compare."""

    def __init__(self, inventories: Mapping[str, Inventory]) -> None:
        """By recipe."""
        self._inventories = inventories
        self._rows = {(name, row.name): row for name, inventory in inventories.items() for row in inventory.recipe.rows}

    def row(self, operand: Operand) -> Row:
        return self._rows[operand.recipe, operand.row]

    def printed(self, operand: Operand) -> float | None:
        """In percent, or a number of parameters. An epoch is never printed, a value of the validation split where the
        claim says so."""
        recipe, column = self._inventories[operand.recipe].recipe, operand.printed_column
        unknown = operand.statistic == "epoch" or (operand.split == "val" and column is None)
        if unknown or operand.index not in (None, recipe.display.indexes[0]):
            return None
        of_row = self.row(operand).relation.values(recipe.reference)
        found = of_row.get(column or operand.column, {}).get(operand.metric)
        return found and (found.std if operand.statistic == "deviation" else found.value)

    def measured(self, operand: Operand) -> float | None:
        """Likewise, or an epoch; None where no seed is finished, of a deviation two."""
        row, inventory = self.row(operand), self._inventories[operand.recipe]
        if operand.metric in PARAMETERS:
            size = size_cells(row, inventory).get(operand.metric)
            return size and size.mean
        seeds = [self._of_seed(operand, runs) for runs in inventory.finished(row)]
        values = [value for value in seeds if value is not None]
        if operand.statistic == "deviation":
            return statistics.stdev(values) if len(values) > 1 else None
        return statistics.fmean(values) if values else None

    def runs(self, operand: Operand) -> MeasuredRuns | None:
        """Where the values are, query by query; None where there are none by query."""
        inventory = self._inventories[operand.recipe]
        by_query = operand.metric in METRICS and operand.split == "test" and operand.statistic == "mean"
        if not by_query or inventory.recipe.display.protocol != "clean":
            return None
        seeds = seed_folders(self.row(operand), inventory)
        return MeasuredRuns(seeds, self._index(operand), operand.metric, self._domain(operand) or MEAN)

    def _of_seed(self, operand: Operand, runs: Sequence[Run]) -> float | None:
        display = self._inventories[operand.recipe].recipe.display
        if operand.statistic == "epoch":
            return runs[0].scores.selected_epoch
        if operand.split == "val":
            scores = runs[0].scores.val
        elif self.row(operand).specialists:
            scores = oracle_scores(runs, display.protocol, self._index(operand))
        else:
            scores = display.scores_of(runs[0].scores.test, self._index(operand))
        domain = self._domain(operand)
        if scores is None or (domain is not None and domain not in scores.domains):
            return None
        value = (scores.mean if domain is None else scores.domains[domain].values)[operand.metric]
        return None if value is None else 100 * value

    def _index(self, operand: Operand) -> str:
        return operand.index or self._inventories[operand.recipe].recipe.display.indexes[0]

    def _domain(self, operand: Operand) -> str | None:
        """None for the mean."""
        columns = self._inventories[operand.recipe].recipe.columns
        by_column = {column: domain for domain, column in columns.items()}
        return None if operand.column == MEAN else by_column.get(operand.column, operand.column)


def _checked(claim: Claim, values: _Values, tests: ClaimTests) -> CheckedClaim:
    operands = claim.operands
    printed = _known(operands, values.printed)
    measured = _known(operands, values.measured)
    missing = [operand for operand in operands if operand not in measured]
    only_printed = [operand for operand in missing if not values.row(operand).runs]
    if missing:
        judgement = Judgement(Verdict.NOT_MEASURED, missing=_missing(only_printed or missing, bool(only_printed)))
    else:
        judgement = _judged(claim, measured, lambda of: tests.p(of, values.runs))
    of_print = _judged(claim, printed, lambda of: [None] * len(of)) if len(printed) == len(operands) else None
    return CheckedClaim(claim, of_print, judgement, measurable=not only_printed)


def _known(operands: Sequence[Operand], find: Callable[[Operand], float | None]) -> dict[Operand, float]:
    return {operand: value for operand in operands if (value := find(operand)) is not None}


def _judged(
    claim: Claim, values: Mapping[Operand, float], p_of: Callable[[list[Combination]], Sequence[float | None]]
) -> Judgement:
    """`p_of`: of each of several combinations."""
    outcomes = claim.outcomes(values.__getitem__)
    holds = all(claim.holds(outcome.amount) for outcome in outcomes)
    combinations = [outcome.of for outcome in outcomes if outcome.of]
    p = p_of(combinations) if combinations else [None] * len(outcomes)

    def sureness(place: int) -> tuple[float, float]:
        """Of those that hold, how far from p = 1; of those that do not, all alike; then by how far from the bound."""
        return (-(p[place] or 0.0) if holds else 0.0), claim.margin(outcomes[place].amount)

    decides = min(range(len(outcomes)), key=sureness)
    verdict = Verdict.HOLDS if holds else Verdict.FAILS
    return Judgement(verdict, outcomes[decides].amount, outcomes[decides].of, p[decides])


def _missing(operands: Sequence[Operand], only_printed: bool) -> str:
    """`lacks uned_table4: IN+Oracle; 3 rows of uned_supp_s4`."""
    rows: dict[str, dict[str, None]] = {}
    for operand in operands:
        rows.setdefault(operand.recipe, {})[operand.row] = None
    parts = [
        f"{recipe}: {next(iter(names))}" if len(names) == 1 else f"{len(names)} rows of {recipe}"
        for recipe, names in rows.items()
    ]
    return f"{'printed only:' if only_printed else 'lacks'} {'; '.join(parts)}"


def _row(checked: CheckedClaim) -> TableRow:
    claim, measured, printed = checked.claim, checked.measured, checked.printed
    texts = {HERE: f"{measured.verdict} {UNSURE}" if checked.unsure else str(measured.verdict)}
    if printed:
        texts[PRINT] = f"{printed.verdict}, {_text(claim, printed)}"
    texts[ROWS] = measured.missing or _rows(measured)
    cells = {column: Cell(math.nan, None, text) for column, text in texts.items()}
    if not measured.missing:
        number = math.nan if claim.metric in PARAMETERS else measured.amount
        cells[DIFFERENCE] = Cell(number, None, _text(claim, measured))
    if measured.p is not None:
        cells[P] = Cell(measured.p, None)
    relation = PrintedRelation()
    if not checked.measurable:
        relation = PrintedRelation(printed=claim.claim, compared="printed-only", because=measured.missing)
    by_column = {column: {column: cell} for column, cell in cells.items()}
    return TableRow(claim.claim, None, 0, 0, by_column, {}, relation, claim.place, lacks=measured.missing)


def _text(claim: Claim, judgement: Judgement) -> str:
    """The amount: `+2.5`, `0.0`, `rho 0.94`, `+3.3 epochs`, `+202.1 M`."""
    if judgement.of is None:
        return f"rho {judgement.amount:.2f}"
    unit, scale = (" M", 1e6) if claim.metric in PARAMETERS else (" epochs" if claim.statistic == "epoch" else "", 1)
    number = f"{judgement.amount / scale:+,.1f}"
    return (number[1:] if number in ("+0.0", "-0.0") else number) + unit


def _rows(judgement: Judgement) -> str:
    """`CLIP+UJCRR - CLIP+USCRR, SOP`; of gains `(A - B, SOP) - (A - B, Met)`."""
    of = judgement.of
    if of is None:
        return "rank correlation"
    if len(of.plus) == 1:
        return _difference(of.plus[0], of.minus[0])
    return f"({_difference(of.plus[0], of.minus[0])}) - ({_difference(of.minus[1], of.plus[1])})"


def _difference(better: Operand, worse: Operand) -> str:
    """The rows and their column; where it is not the same, and of one row, what tells the two values apart."""
    has_column = better.metric not in PARAMETERS and better.statistic != "epoch"
    one_column = better.column == worse.column
    told = ("recipe", "column", "metric", "index", "split") if better.row == worse.row else ("column",) * has_column
    parts = [part for part in told if getattr(better, part) != getattr(worse, part)]
    names = [
        f"{each.row} ({', '.join(getattr(each, part) or DEFAULT_INDEX for part in parts)})" if parts else each.row
        for each in (better, worse)
    ]
    return " - ".join(names) + (f", {better.column}" if has_column and one_column else "")
