"""What is told of a training set that was drawn: on the screen, and in curation.json beside it.

curated.report.sources[0].steps      # [DrawStep(step="split train", images=8, classes=2), ...]
"""

from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

from pydantic import Field

from probe.data.curation import Curation, Expected, Printed
from probe.validation import Strict

UNITS = {"k": 1_000, "M": 1_000_000}


class DrawStep(Strict):
    """What was left after a step."""

    step: str
    images: int
    classes: int


class CountComparison(Strict):
    """A count beside the printed one; they agree when the count, rounded as printed, is the printed one."""

    what: Literal["images", "classes"]
    found: int
    printed: Printed
    agrees: bool


class NearDuplicatesReport(Strict):
    """How many were left out, `of_class` for another image of their class, `of_benchmark` for a query of the benchmark.

    `features`: the fingerprints of the stores that were compared.
    """

    of_class: int
    of_benchmark: int
    features: str


class SourceReport(Strict):
    """`digest`: of the data set's whole manifest."""

    data: str
    digest: str
    steps: list[DrawStep]
    near_duplicates: NearDuplicatesReport | None = None
    comparisons: list[CountComparison]


class ShareReport(Strict):
    """Of a domain: the share of all images that was asked for, and the one that whole classes make."""

    domain: str
    requested: float
    obtained: float
    images: int
    classes: int


class ListDifference(Strict):
    """The published list against the drawn one. A class is in one only when none of its images is in the other."""

    images_in_both: int
    images_only_published: int
    images_only_drawn: int
    classes_only_published: int
    classes_only_drawn: int
    first_only_published: list[str]
    first_only_drawn: list[str]


class CurationReport(Strict):
    """`published`: whether the images are those of the published list; then `difference` compares them with the drawn
    ones, or `not_drawn` says why there are none."""

    curation: Curation
    published: bool
    digest: str
    sources: list[SourceReport]
    images: int
    classes: int
    comparisons: list[CountComparison]
    shares: list[ShareReport] = Field(default_factory=list)
    """Of what the recipe draws, where it asks for shares."""
    difference: ListDifference | None = None
    not_drawn: str | None = None


class Origin(Strict):
    """curation.json. `roots`: source -> folder, below the data root where it is not absolute."""

    roots: dict[str, str]
    report: CurationReport


def compared_with_print(images: int, classes: int, expected: Expected) -> list[CountComparison]:
    found: list[tuple[Literal["images", "classes"], int, str | None]] = [
        ("images", images, expected.images),
        ("classes", classes, expected.classes),
    ]
    return [
        CountComparison(what=what, found=number, printed=printed, agrees=rounds_to(number, printed))
        for what, number, printed in found
        if printed is not None
    ]


def rounds_to(number: int, printed: str) -> bool:
    """Whether a count is printed so: 141,460 as `141.5k`, halves rounded up."""
    digits = Decimal(printed.rstrip("kM"))
    scaled = Decimal(number) / UNITS.get(printed[-1], 1)
    return scaled.quantize(Decimal(1).scaleb(int(digits.as_tuple().exponent)), ROUND_HALF_UP) == digits
