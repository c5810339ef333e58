"""A claim: what a paper says of its numbers in words, as a comparison of rows of recipes.

It holds where every amount that it is about lies within its bounds: above 0, or from `least` to `most`. What the
amounts are is the claim's `kind`, a class below: differences, gains, spreads, a rank correlation. Printed and measured
values are compared alike.

    claim = read_recipe(Path("recipes/claims.yaml")).claims.claims[0]
    claim.outcomes(printed.__getitem__)           # [Outcome(4.1, Combination(plus=..., minus=...)), ...]
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, model_validator

from probe.metrics import MEAN, METRICS, spearman
from probe.validation import Strict

Split = Literal["test", "val"]
Statistic = Literal["mean", "deviation", "epoch"]
DECIMALS = 6  # of a comparison with a bound: printed values have one


@dataclass(frozen=True)
class Operand:
    """One value that a claim compares: of a row, in a column."""

    recipe: str
    row: str
    column: str
    """A printed domain's name, or Mean."""
    metric: str
    index: str | None = None
    """None for the one that the recipe shows first."""
    split: Split = "test"
    statistic: Statistic = "mean"
    """Over the seeds; `epoch` is the mean of the selected ones."""
    printed_column: str | None = None
    """Where the printed value stands in another column of the row."""


Value = Callable[[Operand], float]


class Combination(NamedTuple):
    """A sum of values minus a sum of as many: two values of a difference, four of a difference of gains."""

    plus: tuple[Operand, ...]
    minus: tuple[Operand, ...]

    def of(self, value: Value) -> float:
        return sum(map(value, self.plus)) - sum(map(value, self.minus))

    def __sub__(self, other: "Combination") -> "Combination":
        return Combination(self.plus + other.minus, self.minus + other.plus)


class Outcome(NamedTuple):
    """One of the amounts that a claim is about."""

    amount: float
    """In points of a score, in epochs, in parameters; or a rank correlation."""
    of: Combination | None
    """None for a rank correlation."""

    @classmethod
    def by(cls, value: Value, of: Combination) -> "Outcome":
        return cls(of.of(value), of)

    @classmethod
    def difference(cls, value: Value, better: Operand, worse: Operand) -> "Outcome":
        return cls.by(value, Combination((better,), (worse,)))


class Elsewhere(Strict):
    """Where a value is taken from, if not from where the claim says."""

    recipe: str | None = None
    column: str | None = None
    metric: str | None = None
    index: Literal["merged", "separate"] | None = None
    split: Split | None = None

    def moved(self, operand: Operand) -> Operand:
        return replace(operand, **{key: value for key in Elsewhere.model_fields if (value := getattr(self, key))})


class RowOf(Elsewhere):
    """A row, and where it is taken from."""

    row: str


RowRef = Annotated[RowOf, BeforeValidator(lambda given: {"row": given} if isinstance(given, str) else given)]
Rows = Annotated[list[RowRef], Field(min_length=1)]
Columns = Annotated[tuple[str, ...], Field(min_length=1)]


class Claim(Strict):
    """The keys that all kinds have."""

    claim: str
    """The statement, in few words."""
    place: str
    """Paper and section."""
    recipe: str
    """Of the rows; the name of a file beside this one."""
    metric: str = METRICS[0]
    index: Literal["merged", "separate"] | None = None
    """None for the one that the recipe shows first."""
    split: Split = "test"
    statistic: Statistic = "mean"
    printed_column: str | None = None
    """Where the printed values stand, if not in the column of the measured ones."""
    least: float | None = None
    most: float | None = None
    """Bounds of all amounts, themselves within; without them, an amount has to be above 0."""

    @model_validator(mode="after")
    def _bounds_leave_something(self) -> Self:
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(f"least {self.least:g} is more than most {self.most:g}")
        return self

    @property
    def is_of_sign(self) -> bool:
        """Whether it is that differences are above 0, or not below."""
        return self.most is None and not self.least

    def holds(self, amount: float) -> bool:
        margin = self.margin(amount)
        return margin > 0 if self.least is None and self.most is None else margin >= 0

    def margin(self, amount: float) -> float:
        """How far within the bounds an amount is; negative outside."""
        least = 0.0 if self.least is None and self.most is None else self.least
        margins = [amount - least] if least is not None else []
        margins += [self.most - amount] if self.most is not None else []
        return round(min(margins), DECIMALS)

    def outcomes(self, value: Value) -> list[Outcome]:
        """The amounts; asks for every value that they depend on."""
        raise NotImplementedError

    @property
    def operands(self) -> list[Operand]:
        """All values that the outcomes depend on."""
        asked: dict[Operand, float] = {}
        self.outcomes(lambda operand: asked.setdefault(operand, 0.0))
        return list(asked)

    def operand(self, row: RowOf, column: str) -> Operand:
        own = Operand(
            self.recipe, row.row, column, self.metric, self.index, self.split, self.statistic, self.printed_column
        )
        return row.moved(own)


class Above(Claim):
    """Rows are above others, in each of the columns."""

    kind: Literal["above"] = "above"
    rows: Rows
    than: Rows | None = None
    against: Elsewhere | None = None
    """In the place of `than`: the same rows, taken from elsewhere."""
    columns: Columns = (MEAN,)
    compare: Literal["each", "best", "pairs"] = "each"
    """Each row, or the best of them, with each of `than`; or the first with the first, and so on."""

    @model_validator(mode="after")
    def _has_two_sides(self) -> "Above":
        if (self.than is None) == (self.against is None):
            raise ValueError(
                "`than` names what the rows are above, `against` where these are taken from: write one of them"
            )
        if self.compare == "best" and self.against is not None:
            raise ValueError("compare: best: `against` takes each row elsewhere; write `than`, or leave `compare` out")
        if self.compare == "pairs" and self.than is not None and len(self.rows) != len(self.than):
            raise ValueError(f"compare: pairs: {len(self.rows)} `rows` and {len(self.than)} of `than` are no pairs")
        return self

    def outcomes(self, value: Value) -> list[Outcome]:
        pairs = [pair for column in self.columns for pair in self._compared(column, value)]
        return [Outcome.difference(value, better, worse) for better, worse in pairs]

    def _compared(self, column: str, value: Value) -> Iterator[tuple[Operand, Operand]]:
        rows = [self.operand(row, column) for row in self.rows]
        if self.against:
            yield from ((row, self.against.moved(row)) for row in rows)
            return
        than = [self.operand(row, column) for row in self.than or []]
        if self.compare == "pairs":
            yield from zip(rows, than, strict=True)
        else:
            yield from product([max(rows, key=value)] if self.compare == "best" else rows, than)


class Order(Claim):
    """Each row is above the next."""

    kind: Literal["order"] = "order"
    rows: Annotated[Rows, Field(min_length=2)]
    columns: Columns = (MEAN,)

    def outcomes(self, value: Value) -> list[Outcome]:
        return [
            Outcome.difference(value, self.operand(better, column), self.operand(worse, column))
            for column in self.columns
            for better, worse in pairwise(self.rows)
        ]


class Diagonal(Claim):
    """Each row is above all others in a column of its own."""

    kind: Literal["diagonal"] = "diagonal"
    rows: Annotated[dict[str, RowRef], Field(min_length=2)]
    """By column."""

    def outcomes(self, value: Value) -> list[Outcome]:
        return [
            Outcome.difference(value, self.operand(own, column), self.operand(other, column))
            for column, own in self.rows.items()
            for other in self.rows.values()
            if other is not own
        ]


class Gains(Strict):
    """What rows have more than others, in each of the columns."""

    rows: Rows
    over: Rows | None = None
    """As many."""
    against: Elsewhere | None = None
    """In the place of `over`: the same rows, taken from elsewhere."""
    columns: Columns = (MEAN,)

    @model_validator(mode="after")
    def _has_two_sides(self) -> "Gains":
        if (self.over is None) == (self.against is None):
            raise ValueError(
                "`over` names what is gained on, `against` where the rows are taken from: write one of them"
            )
        if self.over is not None and len(self.rows) != len(self.over):
            raise ValueError(f"{len(self.rows)} `rows` and {len(self.over)} of `over` are no pairs")
        return self

    def of(self, claim: Claim) -> list[Combination]:
        gains = []
        for column in self.columns:
            rows = [claim.operand(row, column) for row in self.rows]
            over = [claim.operand(row, column) for row in self.over or []]
            over = over or [self.against.moved(row) for row in rows if self.against]
            gains += [Combination((row,), (other,)) for row, other in zip(rows, over, strict=True)]
        return gains


class Gain(Claim):
    """Each gain of some is above each of others."""

    kind: Literal["gain"] = "gain"
    more: Gains
    less: Gains

    def outcomes(self, value: Value) -> list[Outcome]:
        return [Outcome.by(value, more - less) for more, less in product(self.more.of(self), self.less.of(self))]


class Spread(Claim):
    """The best of the rows minus the worst of them; where there are others, minus the same of these."""

    kind: Literal["spread"] = "spread"
    rows: Annotated[Rows, Field(min_length=2)]
    than: Annotated[Rows, Field(min_length=2)] | None = None
    columns: Columns = (MEAN,)

    def outcomes(self, value: Value) -> list[Outcome]:
        outcomes = []
        for column in self.columns:
            spread = self._spread(self.rows, column, value)
            spread = spread - self._spread(self.than, column, value) if self.than else spread
            outcomes.append(Outcome.by(value, spread))
        return outcomes

    def _spread(self, rows: Sequence[RowOf], column: str, value: Value) -> Combination:
        operands = [self.operand(row, column) for row in rows]
        return Combination((max(operands, key=value),), (min(operands, key=value),))


class Ranking(Claim):
    """Spearman's correlation of the rows' values with those that they have elsewhere."""

    kind: Literal["ranking"] = "ranking"
    rows: Annotated[Rows, Field(min_length=3)]
    against: Elsewhere
    column: str = MEAN

    def outcomes(self, value: Value) -> list[Outcome]:
        rows = [self.operand(row, self.column) for row in self.rows]
        here, there = [*map(value, rows)], [value(self.against.moved(row)) for row in rows]
        ranked = len(set(here)) > 1 and len(set(there)) > 1
        return [Outcome(spearman(here, there) if ranked else 0.0, None)]


KINDS: dict[str, type[Claim]] = {
    model.model_fields["kind"].default: model for model in (Above, Order, Diagonal, Gain, Spread, Ranking)
}
