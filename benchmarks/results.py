"""What benchmarks find, as data: comparisons, figures, and costs as the work grows, with the machine that they are of.

Report.model_validate_json(Path("out/bench.json").read_text()).sections[0].results
"""

import os
import platform
import statistics
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from probe.validation import Strict

TOLD = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve")


class Comparison(Strict):
    """Two ways of doing the same work, timed in turn."""

    kind: Literal["comparison"] = "comparison"

    work: str
    against: str

    ours: list[float]
    """Seconds of each round."""
    theirs: list[float]

    target: float | None = None
    """The least ratio that is aimed at."""

    goal: float | None = None
    """The most seconds that ours may take."""

    amount: float = 1
    unit: str = ""
    """What a round does: 4,096 queries."""

    page: str = ""
    """Where the docs speak of it: `losses.md#speed`."""

    @property
    def ratios(self) -> list[float]:
        """How many times as fast ours is, round by round; none where there is only a goal."""
        return [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True)] if self.theirs else []

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def is_met(self) -> bool | None:
        """None where nothing is aimed at."""
        aims = [] if self.target is None else [self.ratio >= self.target]
        aims += [] if self.goal is None else [statistics.median(self.ours) <= self.goal]
        return all(aims) if aims else None


class Figure(Strict):
    """One number beside the comparisons."""

    kind: Literal["figure"] = "figure"
    what: str
    value: float
    unit: str


class Cost(Strict):
    """One point of a curve: what work of some size takes."""

    kind: Literal["cost"] = "cost"
    axis: str
    """What grows: classes."""
    side: str
    """Whose."""
    size: float
    seconds: float


Result = Annotated[Comparison | Figure | Cost, Field(discriminator="kind")]


class Machine(Strict):
    cpu: str
    flags: list[str]
    """Of TOLD."""
    cores: int
    threads: int
    """Of PyTorch."""
    gpu: str
    python: str
    torch: str
    load: float
    """Other processes at work when the section began."""

    @classmethod
    def here(cls) -> "Machine":
        import torch

        try:
            lines = [line.partition(":")[::2] for line in Path("/proc/cpuinfo").read_text().splitlines()]
        except OSError:
            lines = []
        known = {name.strip().lower(): value.strip() for name, value in lines}
        flags = known.get("flags", known.get("features", "")).split()
        return cls(
            cpu=known.get("model name", platform.processor() or platform.machine()),
            flags=[flag for flag in TOLD if flag in flags],
            cores=os.cpu_count() or 1,
            threads=torch.get_num_threads(),
            gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else "",
            python=platform.python_version(),
            torch=torch.__version__,
            load=round(os.getloadavg()[0], 1),
        )

    def __str__(self) -> str:
        gpu = f"{self.gpu}; " if self.gpu else ""
        flags = f" ({', '.join(self.flags)})" if self.flags else ""
        return (
            f"{gpu}{self.cores} × {self.cpu}{flags}, {self.threads} thread(s), torch {self.torch}, load {self.load:g}"
        )


class Section(Strict):
    """What one benchmark found in a process of its own, also where it then failed."""

    name: str
    command: str
    day: date
    machine: Machine
    seconds: float
    error: str = ""
    results: list[Result] = Field(default_factory=list)

    @property
    def comparisons(self) -> list[Comparison]:
        return [result for result in self.results if isinstance(result, Comparison)]


class Tests(Strict):
    """Of those that are marked `cuda`."""

    command: str
    seconds: float
    passed: int
    failed: dict[str, str]
    """The first line of each message, by name."""
    skipped: dict[str, str]
    error: str = ""
    """Where there was no outcome at all."""


class Report(Strict):
    installed: dict[str, str] = Field(default_factory=dict)
    """Versions of what the figures are of."""
    tests: Tests | None = None
    sections: list[Section] = Field(default_factory=list)

    @property
    def comparisons(self) -> list[Comparison]:
        return [each for section in self.sections for each in section.comparisons]
