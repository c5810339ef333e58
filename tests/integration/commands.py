"""Running command lines as a user would, in folders of their own, and the README's own lines to run.

Each line runs in a process of its own. A line of `probe` alone is forked from a server that has loaded PyTorch and the
package, which spares every command some seconds; `start`, and lines that need a shell, run the installed program.
"""

import multiprocessing
import os
import re
import select
import shlex
import signal
import string
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NEEDS_A_SHELL = re.compile(r"[|&;<>*?(`]")
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["probe.planning", "probe.report.table", "probe.report.figures.figure", "probe.extract.local", "torch._dynamo"]
)  # torch.optim loads the last


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
        if line.startswith("probe ") and not NEEDS_A_SHELL.search(line):
            words = shlex.split(string.Template(line).substitute(self.environment), comments=True)
            done = self._forked(_run_command, words)
        else:
            process = self.start(line)
            out, err = process.communicate()
            done = subprocess.CompletedProcess(line, process.returncode, out, err)
        assert done.returncode == code, f"{line}\n{done.stdout}\n{done.stderr}"
        return done

    def script(self, file: str) -> None:
        """Runs a script by bash, its `probe` lines forked like all others: for these, `probe` is a function that asks
        here."""
        asked, answered, function = (self.home / name for name in (".asked", ".answered", ".function"))
        for pipe in (asked, answered):
            os.mkfifo(pipe)
        function.write_text(
            f'exec 7> {asked} 8< {answered}\nprobe() {{ echo "${{@@Q}}" >&7; read -r code <&8; return "$code"; }}\n'
        )
        told: list[str] = []
        # opened for both, so that they stay open whoever reads and writes
        with os.fdopen(os.open(asked, os.O_RDWR)) as asking, os.fdopen(os.open(answered, os.O_RDWR), "w") as answering:
            process = replace(self, variables=self.variables | {"BASH_ENV": str(function)}).start(f"bash {file}")
            while process.poll() is None:
                if select.select([asking], [], [], 0.1)[0]:
                    done = self._forked(_run_command, ["probe", *shlex.split(asking.readline())])
                    told.append(f"{done.stdout}\n{done.stderr}")
                    print(done.returncode, file=answering, flush=True)
        out, err = process.communicate()
        assert process.returncode == 0, "\n".join([*told, out, err])

    def python(self, code: str) -> str:
        """Runs a script; what it prints."""
        done = self._forked(_run_script, code)
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _forked(self, work: Callable[..., None], *args: Any) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            process = SERVER.Process(target=_as_if_started, args=(self.home, self.environment, out, err, work, *args))
            process.start()
            process.join()
            return subprocess.CompletedProcess(args, process.exitcode or 0, out.read_text(), err.read_text())

    @property
    def environment(self) -> dict[str, str]:
        places = {name: str(self.home / folder) for name, folder in PLACES.items()}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return os.environ | places | {"PATH": path, "HF_HUB_OFFLINE": "1"} | self.variables

    def start(self, line: str, own_group: bool = False) -> subprocess.Popen[str]:
        """`own_group`: of processes, which a signal can be sent to as a terminal does."""
        return subprocess.Popen(
            f"exec {line}",
            shell=True,
            cwd=self.home,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=own_group,
            preexec_fn=_heed_interrupt,
        )


def _as_if_started(
    home: Path, environment: dict[str, str], out: Path, err: Path, work: Callable[..., None], *args: Any
) -> None:
    """In the forked process."""
    for stream, path in ((sys.stdout, out), (sys.stderr, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream.fileno())
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(home)
    work(*args)


def _run_command(words: list[str]) -> None:
    from probe.cli import main

    sys.argv = words
    main()


def _run_script(code: str) -> None:
    exec(compile(code, "script.py", "exec"), {"__name__": "__main__"})


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
