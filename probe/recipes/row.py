"""A row of a recipe: its keys, laid over the defaults, become the configurations of its runs.

The runs of a row differ in their seed; those of a row with `specialists: true` in their domain too. Of a head of which
nothing is drawn there is one run, and of a row that is printed only there is none.

    row.configs(["cars196", "food2k"], steps=None)     # all runs, once the domains and the measured steps are known
"""

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from probe.backbones import Backbone
from probe.data import SPLITS
from probe.errors import UsageError, nearest
from probe.extract import Selection
from probe.fit import ClosedFormConfig, RunConfig, Seed, TrainedConfig, Training, is_closed_form, read_run_config
from probe.heads import HEADS
from probe.losses import LOSSES
from probe.recipes.overrides import ROW_KEYS, Overrides
from probe.recipes.printed import MEAN, PrintedValue, PrintedValues
from probe.validation import Strict, describe


def _distinct(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed is named twice; each is one run")
    return seeds


Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_distinct)]
Compared = Literal["exact", "linear-probe", "other-benchmark", "recomputed", "printed-only"]
SELF_EXPLANATORY = (None, "exact", "recomputed")
SECTIONS = ("head", "loss", "training")
MEASURED = "measured"
REGISTRIES = {"head": HEADS, "loss": LOSSES}


class PrintedRelation(Strict):
    """How a row relates to the values that a paper prints."""

    printed: str | None = None
    """The row of the reference file."""
    column: str | dict[str, str] | None = None
    """The printed column beside the row's mean; or column of the table -> printed column. By their names unless
    given."""
    compared: Compared | None = None
    """`exact` unless given."""
    because: str | None = None
    """Why it is not the same experiment, or what is not known."""

    @model_validator(mode="after")
    def _is_explained(self) -> "PrintedRelation":
        if self.printed is None and (self.column or self.compared or self.because):
            raise ValueError(
                "`column`, `compared` and `because` are about printed values; name their row with `printed`"
            )
        if self.compared not in SELF_EXPLANATORY and not self.because:
            raise ValueError(f"compared: {self.compared} needs a `because`")
        return self

    @property
    def columns(self) -> dict[str, str]:
        """Column of the table -> printed column; empty where all have the same names."""
        return {MEAN: self.column} if isinstance(self.column, str) else self.column or {}

    def values(self, reference: PrintedValues | None) -> dict[str, dict[str, PrintedValue]]:
        """The printed values by column of the table and metric; empty where nothing is printed."""
        if reference is None or self.printed is None:
            return {}
        of_row = reference.rows[self.printed]
        return {column: of_row[name] for column, name in self.columns.items()} or of_row

    @property
    def mark(self) -> str:
        """`linear probe`; empty where nothing is printed."""
        return (self.compared or "").replace("-", " ")


class PrintedRowFile(PrintedRelation):
    """The keys of a row that is printed only."""

    name: str
    marked: bool = True
    """Whether it competes for the marks that the recipe shows; not so a row of longer embeddings than the others'."""


class RowFile(PrintedRowFile):
    """The keys of a row beside those of its runs, after it is merged with the defaults."""

    train: str | None = None
    """Data whose training images take the place of those of the recipe's `data`."""
    specialists: bool = False
    """A run for each domain, trained and selected on it alone; the table has their oracle."""
    seeds: Seeds


class TrainedRowFile(TrainedConfig, RowFile):
    @model_validator(mode="after")
    def _specialists_have_their_own_domains(self) -> "TrainedRowFile":
        if self.specialists and self.domain is not None:
            raise ValueError("`specialists` has a run for each domain; leave out `domain`")
        return self


class ClosedFormRowFile(ClosedFormConfig, RowFile):
    @model_validator(mode="after")
    def _specialists_are_trained(self) -> "ClosedFormRowFile":
        if self.specialists:
            raise ValueError(f"specialists: head '{self.head.kind}' is not trained, so that there are none of it")
        return self


@dataclass(frozen=True)
class Row:
    """A checked row."""

    name: str
    backbones: list[Backbone]
    """Empty for a row without runs."""
    runs: Sequence[RunConfig]
    """One a seed, of specialists without their domain. Empty where the row is printed only, or of a static table."""
    relation: PrintedRelation
    specialists: bool = False
    steps_of: str | None = None
    """The row of specialists whose measured steps the sampler takes."""
    train: str | None = None
    """The training data, if not the recipe's."""
    marked: bool = True
    """Whether it competes for the marks that the recipe shows."""

    @property
    def collection(self) -> str | None:
        """The data whose index images its head has seen, without their labels."""
        run = self.runs[0] if self.runs else None
        return run.head.collection if isinstance(run, ClosedFormConfig) else None

    @property
    def selection(self) -> Selection:
        """The features that all its runs read. Only of a row with runs."""
        return self.runs[0]

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that all its runs read. Only of a row with runs."""
        return self.runs[0].splits

    @property
    def training(self) -> Training | None:
        """Of all its runs; None where nothing is trained. Only of a row with runs."""
        return self.runs[0].training if isinstance(self.runs[0], TrainedConfig) else None

    @property
    def features_key(self) -> str:
        """Cache key of its features: equal for rows that read the same."""
        parts = [self.selection.features_name]
        parts += [f"trained on {self.train}"] if self.train else []
        parts += [f"{' and '.join(self.splits)} alone"] if len(self.splits) < len(SPLITS) else []
        if self.training and (self.training.val or self.training.val_seed):
            parts += [f"val {self.training.val}, val_seed {self.training.val_seed}"]
        return ", ".join(parts)

    def configs(self, domains: Sequence[str], steps: Mapping[str, int] | None) -> Sequence[RunConfig]:
        """All runs, by seed and then by domain. `steps`: by domain, for a row whose steps are measured."""
        if self.specialists:
            return [_with_domain(run, domain) for run in self.runs for domain in domains]
        return [_with_steps(run, steps) for run in self.runs] if steps else self.runs


def _with_domain(config: RunConfig, domain: str) -> RunConfig:
    return read_run_config(config.model_dump() | {"domain": domain})


def _with_steps(config: RunConfig, steps: Mapping[str, int]) -> RunConfig:
    fields = config.model_dump()
    return read_run_config(fields | {"training": fields["training"] | {"specialist_steps": dict(steps)}})


def read_row(
    where: str,
    fields: dict[str, Any],
    defaults: dict[str, Any],
    find: Callable[[str], Backbone],
    reference: PrintedValues | None,
    changes: Overrides,
) -> Row:
    """`fields`: the row of the file; `find`: a backbone by name. Raises UsageError that names `where` and the key."""
    if fields.get("compared") == "printed-only":
        return _printed_only(where, fields, reference)
    if "seed" in fields:
        raise UsageError(f"{where}: unknown key 'seed'; did you mean 'seeds'?")
    merged, steps_of = _measured_steps(where, _merged(fields, defaults, changes))
    closed_form = is_closed_form(merged)
    model, run_model = (ClosedFormRowFile, ClosedFormConfig) if closed_form else (TrainedRowFile, TrainedConfig)
    try:
        row = model.model_validate(merged)
        kept = row.model_dump(include=set(run_model.model_fields))
        seeds = [0] if isinstance(row, ClosedFormConfig) and not row.head.drawn else row.seeds
        runs: list[RunConfig] = [run_model.model_validate(kept | {"seed": seed}) for seed in seeds]
    except ValidationError as error:
        raise UsageError(f"{where}: {describe(error, model)}") from error
    reads_training = "train" in row.splits
    if "train" in fields and not reads_training:
        raise UsageError(f"{where}: train: head '{row.head.kind}' is fitted on no images; leave it out.")
    train = row.train if reads_training else None
    stores = dict.fromkeys(name for split in row.splits for name in row.stores(split))
    try:
        backbones = [find(name) for name in stores]
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    relation = checked_relation(where, row, reference)
    return Row(row.name, backbones, runs, relation, row.specialists, steps_of, train, row.marked)


def _printed_only(where: str, fields: dict[str, Any], reference: PrintedValues | None) -> Row:
    try:
        row = PrintedRowFile.model_validate(fields)
    except ValidationError as error:
        runs = sorted(fields.keys() & {"seeds", "specialists", *TrainedConfig.model_fields})
        has_no_runs = f"it is printed only and has no runs; leave out `{'`, `'.join(runs)}`."
        raise UsageError(f"{where}: {has_no_runs if runs else describe(error, PrintedRowFile)}") from error
    return Row(row.name, [], [], checked_relation(where, row, reference), marked=row.marked)


def checked_relation(where: str, row: PrintedRelation, reference: PrintedValues | None) -> PrintedRelation:
    """Raises UsageError for a row or a column that is not printed."""
    if row.printed is not None and (reference is None or row.printed not in reference.rows):
        if reference is None:
            raise UsageError(
                f"{where}: printed: the recipe has no `reference` file, whose row '{row.printed}' could be."
            )
        near = nearest(row.printed, reference.rows)
        raise UsageError(f"{where}: printed: '{row.printed}' is no row of the recipe's reference file; {near}")
    compared = row.compared or ("exact" if row.printed else None)
    found = PrintedRelation(printed=row.printed, column=row.column, compared=compared, because=row.because)
    for column in found.columns.values():
        known = reference.rows[row.printed] if reference and row.printed else {}
        if column not in known:
            raise UsageError(f"{where}: column: '{row.printed}' has no printed '{column}'; {nearest(column, known)}")
    return found


def _measured_steps(where: str, merged: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The row with a stand-in for steps that specialists measure, so that the rest of it can be checked; and the row of
    these specialists, if any."""
    training = merged.get("training")
    if not isinstance(training, dict):
        return merged, None
    steps = training.get("specialist_steps")
    if not isinstance(steps, dict) or not isinstance(steps.get(MEASURED), str):
        return merged, None
    if len(steps) > 1:
        raise UsageError(f"{where}: training.specialist_steps: `{MEASURED}` names a row and stands alone.")
    return merged | {"training": training | {"specialist_steps": {steps[MEASURED]: 1}}}, steps[MEASURED]


def _merged(fields: dict[str, Any], defaults: dict[str, Any], changes: Overrides) -> dict[str, Any]:
    """The row's fields over the changes over the defaults."""
    settings = changes.settings
    defaults = defaults | {key: value for key, value in settings.items() if key in ROW_KEYS}
    defaults |= {"seeds": changes.seeds} if changes.seeds is not None else {}
    merged = {key: value for key, value in defaults.items() if value or key == "training"} | fields
    for section in SECTIONS:
        own, default, changed = fields.get(section), defaults[section], settings.get(section, {})
        if own is None and not changed:
            continue
        if own is None or isinstance(own, dict):
            merged[section] = _merged_section(section, own or {}, default, changed)
    if is_closed_form(merged):
        merged = {key: value for key, value in merged.items() if key not in ("loss", "training") or key in fields}
    return merged


def _merged_section(
    section: str, own: dict[str, Any], default: dict[str, Any], changed: dict[str, Any]
) -> dict[str, Any]:
    """Another kind takes over the keys that it has too; a change goes to the kinds that have its key."""
    lay_over: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]] = (
        Training.laid_over if section == "training" else operator.or_
    )
    base = lay_over(default, changed)
    known = _known_keys(section, base | own)
    if known is not None:
        other_kind = "kind" in own or "kind" in changed
        base = {key: value for key, value in base.items() if key in known or not (other_kind or key in changed)}
    return lay_over(base, own)


def _known_keys(section: str, written: dict[str, Any]) -> Collection[str] | None:
    """Of the kind that is written; None where there is no such kind, which is said when the row is checked."""
    if section == "training":
        return Training.keys_of(written)
    try:
        return REGISTRIES[section].find(written["kind"]).Config.model_fields
    except (KeyError, TypeError, UsageError):
        return None
