"""Changes of a recipe on the command line: `--set SECTION.KEY=VALUE`, `--seeds`, `--row`.

They change the recipe's defaults, as if they were written there; a row that has its own value keeps it.

    changes = Overrides.parse(["loss.margin=0.4"], seeds="0-4", rows=["ArcFace"])
    changes.settings      # {"loss": {"margin": 0.4}}
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from probe.errors import UsageError, nearest
from probe.extract import Selection
from probe.fit import Training
from probe.heads import HeadConfig
from probe.losses import LossConfig
from probe.validation import models_in, parse_yaml

SECTION_KEYS: dict[str, set[str]] = {
    section: {name for model in models_in(annotation) for name in model.model_fields}
    for section, annotation in (("head", HeadConfig), ("loss", LossConfig))
} | {"training": set(Training.written_keys())}
ROW_KEYS = {*Selection.model_fields, "distance"}  # backbone, views, append: not in a section
PATHS = [*sorted(ROW_KEYS), *(f"{section}.{key}" for section, keys in SECTION_KEYS.items() for key in keys)]
MOST_SEEDS = 10_000  # in a range that someone mistyped, numbers have no end
OPEN = ("head", "loss", "training")  # sections of kinds that may be a user's own


@dataclass(frozen=True)
class Overrides:
    """None stands for what the recipe has."""

    settings: dict[str, Any] = field(default_factory=dict)
    """`{"loss": {"margin": 0.4}, "backbone": "descriptor"}`: keys of sections, and keys of the row itself."""
    seeds: list[int] | None = None
    rows: list[str] | None = None
    options: tuple[str, ...] = ()
    """The changes as options of the command line."""

    @classmethod
    def parse(cls, settings: Sequence[str], seeds: str | None, rows: Sequence[str]) -> "Overrides":
        """Raises UsageError, with the nearest known name, for options of another form. Keys of sections that may have a
        user's own kinds are checked with the recipe."""
        found: dict[str, Any] = {}
        for setting in settings:
            section, key, value = _parsed(setting)
            if key is None:
                found[section] = value
            else:
                found.setdefault(section, {})[key] = value
        options = [word for setting in settings for word in ("--set", setting)]
        options += ["--seeds", seeds] if seeds is not None else []
        options += [word for row in rows for word in ("--row", row)]
        return cls(found, None if seeds is None else parse_seeds(seeds), list(rows) or None, tuple(options))

    def items(self) -> list[tuple[str, str | None, Any]]:
        """Section, key and value of each setting; a key of the row itself is a section without keys."""
        return [
            (section, key, value)
            for section, values in self.settings.items()
            for key, value in (values.items() if section not in ROW_KEYS else [(None, values)])
        ]


def parse_seeds(text: str) -> list[int]:
    """`0-4`, `0,2,5`, `0-2,7`. Raises UsageError."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise UsageError(f"--seeds {text}: '{part}' is neither a seed nor a range of seeds; write 0-4 or 0,2,5.")
        if len(seeds) + int(last or first) - int(first) >= MOST_SEEDS:
            raise UsageError(f"--seeds {text} names more than {MOST_SEEDS:,} seeds, each of them a run; name fewer.")
        seeds += range(int(first), int(last or first) + 1)
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text} names a seed twice; each seed is one run.")
    return seeds


def _parsed(setting: str) -> tuple[str, str | None, Any]:
    path, equals, text = setting.partition("=")
    section, _, key = path.strip().partition(".")
    if not equals:
        raise UsageError(f"--set {setting}: there is no value; write --set {setting or 'loss.margin'}=VALUE.")
    if section == "seeds":
        raise UsageError(f"--set {setting}: seeds have an option of their own; write --seeds {text}.")
    if path.strip() not in PATHS and not (section in OPEN and key.isidentifier()):
        raise no_such_setting(setting, path, PATHS)
    try:
        return section, key or None, parse_yaml(text)
    except ValueError as error:
        raise UsageError(f"--set {setting}: '{text}' is not a YAML value.") from error


def no_such_setting(setting: str, path: str, known: Collection[str]) -> UsageError:
    """With the nearest of the section's, or of all that are known where there is no such section."""
    near = [each for each in known if each.startswith(f"{path.partition('.')[0]}.")] or known
    return UsageError(f"--set {setting}: there is no '{path}'; {nearest(path, near)}")
