"""How fast images were extracted here: a line in `<cache>/speeds.jsonl` for each undisturbed extraction, for estimates.

record(workspace.cache, Speed("clip-vit-b16", "cpu", 3250, 410.2))
read_speeds(workspace.cache)[-1].rate        # images a second
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "speeds.jsonl"


@dataclass(frozen=True)
class Speed:
    """`seconds`: from the first image to the finished store."""

    backbone: str
    device: str
    images: int
    seconds: float
    precision: str = ""
    """Of the forward pass; empty where an earlier version of probe wrote the line."""
    gpu: str = ""
    """Its name; empty for a CPU, and where an earlier version wrote the line."""

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds


def record(cache: Path, speed: Speed) -> None:
    """Adds a line."""
    with (cache / FILE).open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(asdict(speed))}\n")


def read_speeds(cache: Path) -> list[Speed]:
    """In the order in which they were measured; a line that is none is passed over."""
    try:
        lines = (cache / FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    return [speed for line in lines if (speed := _speed(line))]


def _speed(line: str) -> Speed | None:
    try:
        speed = Speed(**json.loads(line))
        return speed if speed.images > 0 and speed.seconds > 0 else None
    except (ValueError, TypeError):
        return None
