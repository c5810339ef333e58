"""What a table shows of its runs, which are all scored with the same metrics, with both indexes and by both protocols,
and how a value is written, which its metric alone decides: a metric that is no count is a score, in percent.

Shown(metrics=("mAP@100",), index="separate").of(run.scores.test, "separate").mean["mAP@100"]
Shown(index="both").column("Mean", "separate")     # "Mean, separate"
written("mMP@5", 61.29), written("images", 316446), written("trainable parameters", 2.3e6)   # 61.3, 316,446, 2.3 M
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from probe.errors import UsageError, nearest
from probe.metrics import INDEXES, METRICS, PROTOCOLS, Scores, SplitScores, metrics_of, require_official
from probe.validation import Strict


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


BOTH = "both"
PARAMETERS = ("total parameters", "trainable parameters")
COUNTS = ("domains", "classes", "images", "query images", "query classes", "index images", "index classes", "uses")
TEXTS = ("setting", "index = queries", "unseen classes")


def written(metric: str, value: float | str) -> str:
    """A measured or printed value of this metric, as every table, file and figure writes it; a text as it is."""
    if isinstance(value, str):
        return value
    if metric in PARAMETERS:
        return f"{value / 1e6:,.1f} M"
    return f"{round(value):,}" if metric in COUNTS else f"{value:.1f}"


def is_score(metric: str) -> bool:
    """Whether more is better, so that there is a best, and a difference in points."""
    return metric not in (*PARAMETERS, *COUNTS, *TEXTS)


class Shown(Strict):
    """`metrics`: in this order; numbers of parameters have a column of their own. `index: both`: the merged index, and
    the mean of the separate one beside its mean.

    It changes what is printed, and no run.
    """

    metrics: Annotated[
        tuple[Annotated[str, _one_of((*METRICS, *PARAMETERS))], ...], Field(min_length=1), AfterValidator(_distinct)
    ] = (
        "mMP@5",
        "R@1",
    )
    index: Annotated[Literal["merged", "separate", "both"], _one_of((*INDEXES, BOTH))] = "merged"
    protocol: Annotated[Literal["clean", "official"], _one_of(PROTOCOLS)] = "clean"

    @model_validator(mode="before")
    @classmethod
    def _official_rules(cls, given: Any) -> Any:
        """Said before that runs are not scored with a metric, which is no remedy here."""
        if isinstance(given, dict) and given.get("protocol") == "official" and isinstance(given.get("metrics"), list):
            try:
                require_official(metrics_of(filter(lambda name: isinstance(name, str), given["metrics"])))
            except UsageError as error:
                raise ValueError(str(error).removesuffix(".")) from error
        return given

    @property
    def indexes(self) -> tuple[str, ...]:
        return INDEXES if self.index == BOTH else (self.index,)

    @property
    def scores(self) -> tuple[str, ...]:
        return tuple(metric for metric in self.metrics if is_score(metric))

    def column(self, name: str, index: str) -> str:
        """A mean's or a domain's column in an index: where there are two, the separate one's tells so."""
        return f"{name}, {index}" if index != self.indexes[0] else name

    def of(self, scores: SplitScores, index: str) -> Scores:
        """By this protocol, in an index."""
        return scores.of(self.protocol, index)

    @property
    def legend(self) -> str:
        """What the numbers are."""
        rounded = ", the published evaluator's" if self.protocol == "official" else ""
        separate = " (separate where a column says so)" if self.index == BOTH else ""
        sizes = "; parameters in millions (M)" if len(self.scores) < len(self.metrics) else ""
        return (
            f"Test split, {self.indexes[0]} index{separate}, {self.protocol} protocol{rounded}; "
            f"{' / '.join(self.scores)} in %; mean ± standard deviation over the seeds{sizes}."
        )


class Counted(Shown):
    """What a table without runs shows: counts or texts. `says`: its legend."""

    metrics: tuple[str, ...] = ()
    says: str

    @property
    def legend(self) -> str:
        return self.says
