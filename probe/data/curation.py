"""Curation recipes: what a training set takes from which published data set, one training set for each row of a table.

From every source, in this order: its `split` without `near_duplicates`, classes of at least `min` images, none of more
than `max`, at most `cap` random images of each class, `classes` random classes. Of all of it together, `shares`.

    title: Products-10k and ever fewer images of GLDv2
    seed: 42
    sources: [{data: products-10k, min: 3}]                                       # in every row
    rows:
      - {name: a1-max20, sources: [{data: gldv2, min: 3, cap: 20}]}
      - {name: a1-max10-10k, sources: [{data: gldv2, min: 3, cap: 10, classes: 10000}]}
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, PositiveFloat, PositiveInt, Tag, field_validator, model_validator

from probe.data.dataset import all_datasets
from probe.data.resolve import is_here
from probe.errors import UsageError, nearest
from probe.validation import Strict, read_strict
from probe.workspace import file_name

Printed = Annotated[
    str, Field(pattern=r"^\d+(\.\d+)?[kM]?$", coerce_numbers_to_str=True)
]  # as a paper prints a number: 81k, 3.36M, 328.4k
Split = Literal["train", "val", "test"]
Shares = Annotated[
    Annotated[str, Field(min_length=1), Tag("benchmark")]
    | Annotated[dict[str, PositiveFloat], Field(min_length=1), Tag("by domain")],
    Discriminator(lambda shares: "by domain" if isinstance(shares, dict) else "benchmark"),
]
"""Of images, by domain, of which only the ratios count; or the benchmark whose test queries have them."""


class Expected(Strict):
    """What the paper prints."""

    images: Printed | None = None
    classes: Printed | None = None


class NearDuplicates(Strict):
    """Images that are left out: their cosine to another image of their class, which stays, is above `cosine` (UnED,
    Sec. 3.1), or that to any query of `benchmark`. `backbone`: whose stored features are compared."""

    backbone: str
    cosine: Annotated[float, Field(gt=0, lt=1)]
    benchmark: str | None = None


class Source(Strict):
    """What is drawn from one data set, in the order of the fields. `seed`: the recipe's unless given."""

    data: str
    split: Split | Annotated[list[Split], Field(min_length=1)] = "train"
    near_duplicates: NearDuplicates | None = None
    min: PositiveInt = 1
    max: PositiveInt | None = None
    cap: PositiveInt | None = None
    classes: PositiveInt | None = None
    domain: str | None = None
    seed: int | None = None
    expected: Expected = Expected()

    @model_validator(mode="after")
    def _min_holds(self) -> Self:
        for name in ("max", "cap"):
            most = getattr(self, name)
            if most is not None and most < self.min:
                raise ValueError(f"{name} {most} is less than min {self.min}")
        return self

    @property
    def splits(self) -> list[Split]:
        return self.split if isinstance(self.split, list) else [self.split]

    @field_validator("split", mode="after")
    @classmethod
    def _once(cls, split: str | list[str]) -> str | list[str]:
        if isinstance(split, list) and len(set(split)) < len(split):
            raise ValueError(f"a split is named twice in {', '.join(split)}")
        return split


class _Row(Strict):
    name: str
    printed: str | None = None
    sources: list[Source] = Field(default_factory=list)
    shares: Shares | None = None
    expected: Expected = Expected()


class _File(Strict):
    title: str
    about: str = ""
    seed: int
    sources: list[Source] = Field(default_factory=list)
    shares: Shares | None = None
    rows: list[_Row] = Field(default_factory=list)
    released: str | None = None
    expected: Expected = Expected()


class Curation(Strict):
    """One training set. `printed`: its row in the table. `released`: the data set that is its published list."""

    name: str
    title: str
    printed: str | None
    seed: int
    sources: list[Source]
    shares: Shares | None = None
    released: str | None
    expected: Expected

    @property
    def reads(self) -> list[str]:
        """The data sets without which it cannot be drawn: its sources, and the benchmarks that it names."""
        benchmarks = [source.near_duplicates.benchmark for source in self.sources if source.near_duplicates]
        benchmarks += [self.shares] if isinstance(self.shares, str) else []
        return list(dict.fromkeys([*(source.data for source in self.sources), *filter(None, benchmarks)]))

    def is_published(self, data_root: Path, datasets: Path | None = None) -> bool:
        """Whether its published list is here, so that nothing has to be drawn."""
        return self.released is not None and is_here(self.released, data_root, datasets)


def read_curations(path: Path) -> list[Curation]:
    """The training sets of a recipe: one for each of its `rows` (the file's sources and the row's; the row's
    shares, or the file's), or the file's own.

    Raises UsageError naming the file and the key.
    """
    file = read_strict(path, _File, "a curation recipe")
    rows = file.rows or [_Row(name=path.stem, expected=file.expected)]
    found = [
        Curation(
            name=row.name,
            title=file.title,
            printed=row.printed,
            seed=file.seed,
            sources=file.sources + row.sources,
            shares=row.shares or file.shares,
            released=file.released,
            expected=row.expected,
        )
        for row in rows
    ]
    _require_sound(found, path)
    return found


def curation_schema() -> dict[str, Any]:
    """The JSON schema of a curation recipe, for editors."""
    return _File.model_json_schema() | {"title": "A curation recipe of probe"}


def find_curation(name: str, curations: list[Curation]) -> Curation:
    """Raises UsageError with the nearest name for one that is not there."""
    named = {curation.name: curation for curation in curations}
    if name not in named:
        raise UsageError(f"no training set '{name}'; {nearest(name, named)}")
    return named[name]


def lacking_data(curations: Sequence[Curation], data_root: Path, datasets: Path | None = None) -> str | None:
    """What they cannot be drawn without and is not here, and where to get it, to come after `drawn from`; None where
    nothing lacks."""
    homes = {dataset.name: dataset.row.home for dataset in all_datasets(datasets)}
    needed = dict.fromkeys(name for curation in curations for name in curation.reads)
    absent = [name for name in needed if not is_here(name, data_root, datasets)]
    if not absent:
        return None
    named = ", ".join(f"{name} ({homes.get(name, 'not a known data set')})" for name in absent)
    return (
        f"data that is not, or not complete, below {data_root}: {named}; `probe data list NAME` says which files are "
        "looked for, and where."
    )


def _require_sound(curations: list[Curation], path: Path) -> None:
    names = [curation.name for curation in curations]
    for curation in curations:
        if names.count(curation.name) > 1:
            raise UsageError(f"{path}: two rows are named '{curation.name}'; names tell training sets apart.")
        if curation.name != file_name(curation.name):
            raise UsageError(f"{path}: '{curation.name}' is no folder's name; write '{file_name(curation.name)}'.")
        if not curation.sources:
            raise UsageError(f"{path}: '{curation.name}' has no sources; name the data sets that it is drawn from.")
