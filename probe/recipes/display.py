"""What a table displays: which metrics, from which index, by which protocol, what stands out; and how a value is
formatted.

The display changes what is printed, never a run: every run is scored with all metrics, in both indexes, by both
protocols. How a value is formatted depends on its metric alone.

    Display(metrics=("mAP@100",), index="separate").scores_of(run.scores.test, "separate").mean["mAP@100"]
    format_value("mMP@5", 61.29), format_value("images", 316446)     # "61.3", "316,446"
"""

from collections.abc import Collection
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from probe.errors import UsageError, nearest
from probe.metrics import INDEXES, METRICS, PROTOCOLS, Scores, SplitScores, metrics_of, require_official
from probe.validation import Strict

BOTH = "both"
VALIDATION = "Validation"
"""The column of the balanced mean over the validation split, by which an epoch is selected."""
BEST, WORST, BEST_OF = "best", "worst", "best of "
DEPLOYED = "deployed parameters"
PARAMETERS = ("total parameters", DEPLOYED, "trainable parameters")
COUNTS = ("domains", "classes", "images", "query images", "query classes", "index images", "index classes", "uses")
TEXTS = ("setting", "index = queries", "unseen classes", "print", "here", "rows")
VERDICTS = ("print", "here", "difference", "p", "rows")  # of a table of claims


def _known(known: tuple[str, ...], given: Any) -> Any:
    if given not in known:
        raise ValueError(f"not one of {', '.join(known)}; {nearest(str(given), known)}")
    return given


def _one_of(known: tuple[str, ...]) -> BeforeValidator:
    return BeforeValidator(partial(_known, known))


def _distinct(what: str) -> AfterValidator:
    def check(names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError(f"a {what} is named twice")
        return names

    return AfterValidator(check)


def _mark(given: Any) -> Any:
    if isinstance(given, str) and given.startswith(BEST_OF) and given != BEST_OF:
        return given
    return _known((BEST, WORST, f"{BEST_OF}GROUP"), given)


def is_score(metric: str) -> bool:
    """Whether more is better, so that there is a best value, and a difference in points."""
    return metric not in (*PARAMETERS, *COUNTS, *TEXTS, *VERDICTS)


def format_value(metric: str, value: float | str) -> str:
    """A measured or printed value as all tables, files and figures have it: scores with one decimal, counts with
    thousands separators, parameters in millions, p with four decimals, texts as they are."""
    if isinstance(value, str):
        return value
    if metric in PARAMETERS:
        return f"{value / 1e6:,.1f} M"
    if metric == "p":
        return f"{value:.4f}" if value >= 5e-5 else "<0.0001"
    return f"{round(value):,}" if metric in COUNTS else f"{value:.1f}"


class Display(Strict):
    """The `show` section of a recipe."""

    metrics: Annotated[
        tuple[Annotated[str, _one_of((*METRICS, *PARAMETERS))], ...], Field(min_length=1), _distinct("metric")
    ] = ("mMP@5", "R@1")
    """In the order of the table. Numbers of parameters have a column of their own."""
    index: Annotated[Literal["merged", "separate", "both"], _one_of((*INDEXES, BOTH))] = "merged"
    """`both`: columns of the merged index, with the mean of the separate one beside the mean."""
    protocol: Annotated[Literal["clean", "official"], _one_of(PROTOCOLS)] = "clean"
    validation: bool = False
    """Whether the selected epoch's validation has a column, beside the means: merged index, clean protocol."""
    mark: Annotated[tuple[Annotated[str, BeforeValidator(_mark)], ...], _distinct("mark")] = ()
    """What stands out in every column: `best`, `worst`, `best of GROUP`, a group of the printed table. Measured and
    printed values compete among themselves. Without it, the best measured means stand out."""

    @model_validator(mode="before")
    @classmethod
    def _official_rules(cls, given: Any) -> Any:
        """Before the fields, which refuse what runs are not scored with, whatever the protocol."""
        if isinstance(given, dict) and given.get("protocol") == "official" and isinstance(given.get("metrics"), list):
            try:
                require_official(metrics_of(filter(lambda name: isinstance(name, str), given["metrics"])))
            except UsageError as error:
                raise ValueError(str(error).removesuffix(".")) from error
        return given

    @property
    def indexes(self) -> tuple[str, ...]:
        """The displayed ones; the columns of the first have plain names."""
        return INDEXES if self.index == BOTH else (self.index,)

    @property
    def marked_groups(self) -> list[str]:
        """Those whose best stands out."""
        return [mark.removeprefix(BEST_OF) for mark in self.mark if mark.startswith(BEST_OF)]

    def require_groups(self, known: Collection[str], where: str) -> None:
        """Raises UsageError for the mark of a group that is not among those of the printed table."""
        for group in self.marked_groups:
            if group not in known:
                near = nearest(group, known) if any(known) else "no printed row has one."
                raise UsageError(f"{where}.mark: no group is called '{group}'; {near}")

    @property
    def score_metrics(self) -> tuple[str, ...]:
        """The metrics without numbers of parameters and counts."""
        return tuple(metric for metric in self.metrics if is_score(metric))

    def column(self, name: str, index: str) -> str:
        """The column of a domain, or of the mean, in an index: `Mean`, or `Mean, separate` beside the merged one."""
        return f"{name}, {index}" if index != self.indexes[0] else name

    def scores_of(self, scores: SplitScores, index: str) -> Scores:
        """The scores in an index, by the displayed protocol."""
        return scores.of(self.protocol, index)

    @property
    def legend(self) -> str:
        """A sentence on what the numbers are."""
        rounded = ", the published evaluator's" if self.protocol == "official" else ""
        separate = " (separate where a column says so)" if self.index == BOTH else ""
        sizes = [metric.removesuffix(" parameters") for metric in self.metrics if metric in PARAMETERS]
        size = f"; parameters in millions (M): {' / '.join(sizes)}" if sizes else ""
        size += ", the deployed ones without class matrices" if DEPLOYED in self.metrics else ""
        validation = " Validation: of the selected epoch; merged index, clean protocol." if self.validation else ""
        return (
            f"Test split, {self.indexes[0]} index{separate}, {self.protocol} protocol{rounded}; "
            f"{' / '.join(self.score_metrics)} in %; mean ± standard deviation over the seeds{size}.{validation}"
        )


class StaticDisplay(Display):
    """What a table without runs displays: counts or texts."""

    metrics: tuple[str, ...] = ()
    description: str

    @property
    def legend(self) -> str:
        return self.description
