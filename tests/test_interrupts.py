"""However many Ctrl-C come, and whenever, `probe` ends with one line and exit code 130."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import slow

ROOT = Path(__file__).resolve().parents[1]

# A thread sends Ctrl-C, again and again, from before the command line is loaded to the end of the process.
STORM = """
import os, signal, threading, time
from probe.interrupts import heed

signal.signal(signal.SIGINT, signal.default_int_handler)
heed()

def storm():
    while True:
        for pause in PAUSES:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(pause)

threading.Thread(target=storm, daemon=True).start()
"""

# One comes in the callback of a weak reference, in which nothing can be raised; the next while Python reports that.
SWALLOWED = """
import signal, weakref
from probe import interrupts

signal.signal(signal.SIGINT, signal.default_int_handler)
set_timer = signal.setitimer

def interrupted_again(*words):
    signal.setitimer = set_timer
    interrupts.ON_ITS_WAY = 0.0
    signal.raise_signal(signal.SIGINT)
    set_timer(*words)

def begin():
    class Thing: ...
    thing = Thing()
    reference = weakref.ref(thing, lambda gone: signal.raise_signal(signal.SIGINT))
    signal.setitimer = interrupted_again
    del thing
"""

COMMAND = """
import sys, time
from probe.cli import app, main

@app.command()
def work():
    if "begin" in globals():
        begin()
    time.sleep(20)

sys.argv = ["probe", "work"]
main()
"""


def run(code: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-c", code + COMMAND], capture_output=True, text=True, cwd=ROOT, timeout=60)
    return done.returncode, done.stderr


INTERRUPTED = (130, "interrupted: what is finished is kept; the same command goes on from there.\n")


@pytest.mark.parametrize("pauses", [(0.0001,), slow((0, 0.003, 0.02))], ids=str)
def test_a_storm_of_them_from_beginning_to_end_is_one_line(pauses: tuple[float, ...]) -> None:
    assert run(f"PAUSES = {pauses}\n{STORM}") == INTERRUPTED


def test_one_that_python_swallows_comes_again_and_another_does_not_hit_the_report_of_it() -> None:
    assert run(SWALLOWED) == INTERRUPTED


def test_where_it_is_ignored_it_stays_so() -> None:
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from probe.interrupts import heed, over\n"
        "heed(); over(); print(signal.getsignal(signal.SIGINT).name, signal.getsignal(signal.SIGALRM).name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["SIG_IGN", "SIG_DFL"]
