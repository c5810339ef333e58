"""Running command lines as a user would, in folders of their own, and the README's own lines to run."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Shell:
    """Runs command lines in `home`, where the recipes are, the project's unless it has its own; data and features go
    below it too."""

    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.home / "recipes").exists():
            (self.home / "recipes").symlink_to(ROOT / "recipes")

    def __call__(self, line: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        process = self.start(line)
        out, err = process.communicate()
        assert process.returncode == code, f"{line}\n{out}\n{err}"
        return subprocess.CompletedProcess(line, code, out, err)

    def start(self, line: str) -> subprocess.Popen[str]:
        places = {name: str(self.home / folder) for name, folder in PLACES.items()}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | places | {"PATH": path, "HF_HUB_OFFLINE": "1"} | self.variables
        return subprocess.Popen(
            f"exec {line}",
            shell=True,
            cwd=self.home,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=_heed_interrupt,
        )


def _heed_interrupt() -> None:
    """Where the tests run in the background, a shell has told them and all below them to ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


PLACES = {"PROBE_DATA_ROOT": "data", "PROBE_CACHE": "features"}


def readme_blocks(heading: str, language: str) -> list[str]:
    """The code blocks below a heading of the README."""
    return blocks((ROOT / "README.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0], language)


def readme_commands(heading: str) -> list[str]:
    """The `probe` lines of its shell blocks."""
    return commands(readme_blocks(heading, "sh"))


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a Markdown text."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(shell_blocks: list[str]) -> list[str]:
    """The `probe` lines of shell blocks, continued lines joined."""
    lines = "".join(shell_blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("probe ")]


def photos(folder: Path, classes: int = 8, each: int = 4) -> Path:
    """A folder of random images, `<folder>/class0/0.png` and so on."""
    rng = np.random.default_rng(0)
    for number in range(classes):
        for image in range(each):
            path = folder / f"class{number}" / f"{image}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)).save(path)
    return folder
