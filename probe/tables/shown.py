"""What a table shows of its runs, which are all scored with the same metrics, with both indexes and by both protocols.

Shown(metrics=("mAP@100",), index="separate").of(run.metrics["test"])["mean"]["mAP@100"]
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from probe.errors import nearest
from probe.retrieval.metrics import METRICS
from probe.retrieval.summary import INDEXES, PROTOCOLS
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


class Shown(Strict):
    """`metrics`: in this order. It changes what is printed, and no run."""

    metrics: Annotated[tuple[Annotated[str, _one_of(METRICS)], ...], Field(min_length=1), AfterValidator(_distinct)] = (
        "mMP@5",
        "R@1",
    )
    index: Annotated[Literal["merged", "separate"], _one_of(INDEXES)] = "merged"
    protocol: Annotated[Literal["clean", "official"], _one_of(PROTOCOLS)] = "clean"

    def of(self, scores: dict[str, Any]) -> dict[str, Any]:
        """The summary, of those of every protocol and index."""
        return scores[self.protocol][self.index]

    @property
    def legend(self) -> str:
        """What the numbers are."""
        rounded = ", the published evaluator's" if self.protocol == "official" else ""
        return (
            f"Test split, {self.index} index, {self.protocol} protocol{rounded}; {' / '.join(self.metrics)} in %; "
            "mean ± standard deviation over the seeds."
        )
