"""What a table displays: which metrics, from which index, by which protocol; and how a value is formatted.

The display changes what is printed, never a run: every run is scored with all metrics, in both indexes, by both
protocols. How a value is formatted depends on its metric alone.

    Display(metrics=("mAP@100",), index="separate").scores_of(run.scores.test, "separate").mean["mAP@100"]
    format_value("mMP@5", 61.29), format_value("images", 316446)     # "61.3", "316,446"
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from probe.errors import UsageError, nearest
from probe.metrics import INDEXES, METRICS, PROTOCOLS, Scores, SplitScores, metrics_of, require_official
from probe.validation import Strict

BOTH = "both"
PARAMETERS = ("total parameters", "trainable parameters")
COUNTS = ("domains", "classes", "images", "query images", "query classes", "index images", "index classes", "uses")
TEXTS = ("setting", "index = queries", "unseen classes", "print", "here", "rows")
VERDICTS = ("print", "here", "difference", "p", "rows")  # of a table of claims


def _one_of(known: tuple[str, ...]) -> BeforeValidator:
    def check(given: Any) -> Any:
        if given not in known:
            raise ValueError(f"not one of {', '.join(known)}; {nearest(str(given), known)}")
        return given

    return BeforeValidator(check)


def _distinct(metrics: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(metrics)) < len(metrics):
        raise ValueError("a metric is named twice")
    return metrics


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
        return f"{value:.4f}"
    return f"{round(value):,}" if metric in COUNTS else f"{value:.1f}"


class Display(Strict):
    """The `show` section of a recipe."""

    metrics: Annotated[
        tuple[Annotated[str, _one_of((*METRICS, *PARAMETERS))], ...], Field(min_length=1), AfterValidator(_distinct)
    ] = ("mMP@5", "R@1")
    """In the order of the table. Numbers of parameters have a column of their own."""
    index: Annotated[Literal["merged", "separate", "both"], _one_of((*INDEXES, BOTH))] = "merged"
    """`both`: columns of the merged index, with the mean of the separate one beside the mean."""
    protocol: Annotated[Literal["clean", "official"], _one_of(PROTOCOLS)] = "clean"

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
        sizes = "; parameters in millions (M)" if len(self.score_metrics) < len(self.metrics) else ""
        return (
            f"Test split, {self.indexes[0]} index{separate}, {self.protocol} protocol{rounded}; "
            f"{' / '.join(self.score_metrics)} in %; mean ± standard deviation over the seeds{sizes}."
        )


class StaticDisplay(Display):
    """What a table without runs displays: counts or texts."""

    metrics: tuple[str, ...] = ()
    description: str

    @property
    def legend(self) -> str:
        return self.description
