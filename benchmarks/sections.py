"""Benchmarks, each in a process of its own and bounded in time; what one has found before it fails or is ended is kept.

A benchmark is a module with `measure(size)`, which yields results. The process prints each as a line of JSON.

    run("search", "benchmarks.search", Size(), limit=90)        # a Section
    python -m benchmarks.sections benchmarks.search --small     # what that process does
"""

import argparse
import importlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

from pydantic import TypeAdapter

from benchmarks.results import Machine, Result, Section

RESULT = TypeAdapter(Result)
TAIL = 2000  # characters of what a process that failed said last


@dataclass(frozen=True)
class Size:
    """How a benchmark is run."""

    device: str = "cpu"
    small: bool = False
    """In seconds, to see that it runs: its figures say nothing."""
    rounds: int = 5


Measure = Callable[[Size], Iterator[Result]]


def run(name: str, module: str, size: Size, limit: float) -> Section:
    """`limit`: seconds, after which it is ended with all processes that it has started."""
    words = [sys.executable, "-m", "benchmarks.sections", module, *arguments(size)]
    machine, start = Machine.here(), time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True)
        try:
            printed, error = process.communicate(timeout=limit)[0], ""
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            printed, error = process.communicate()[0], f"ended after {limit:g} s"
        except BaseException:  # Ctrl-C, which a session of its own does not get
            os.killpg(process.pid, signal.SIGKILL)
            raise
        if process.returncode and not error:
            said.seek(0)
            error = said.read().decode(errors="replace")[-TAIL:].strip() or f"exit code {process.returncode}"
    seconds = round(time.monotonic() - start, 1)
    results = [RESULT.validate_json(line) for line in printed.splitlines(keepends=True) if line.endswith("\n")]
    command = shlex.join(["python", *words[1:]])
    return Section(
        name=name,
        command=command,
        day=date.today(),
        machine=machine,
        seconds=seconds,
        error=error,
        results=results,
    )


def arguments(size: Size) -> list[str]:
    return [f"--device={size.device}", f"--rounds={size.rounds}", *["--small"] * size.small]


def add_arguments(parser: argparse.ArgumentParser, rounds: int = 5) -> None:
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--small", action="store_true", help="to see that it runs; its figures say nothing")
    parser.add_argument("--rounds", type=int, default=rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("module")
    add_arguments(parser)
    options = parser.parse_args()
    with os.fdopen(os.dup(1), "w") as results:
        os.dup2(2, 1)  # what else is printed is no result
        measure: Measure = importlib.import_module(options.module).measure
        for result in measure(Size(options.device, options.small, options.rounds)):
            print(result.model_dump_json(), file=results, flush=True)


if __name__ == "__main__":
    main()
