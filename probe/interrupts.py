"""Ctrl-C: one line and exit code 130, whatever its number and its moment.

It is raised as KeyboardInterrupt inside a command only, where it is caught; earlier, while Python reports an exception
that it swallowed, and while one is on its way, it would end in a traceback. There it waits for a hundredth of a second
and is tried again; further ones change nothing for a moment. One that Python swallowed, in the callback of a weak
reference or a destructor, comes again too.

    heed()                          # early in the process
    interruptible(command)          # raises KeyboardInterrupt
    over()                          # from here on there is nothing to interrupt
"""

import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

Result = TypeVar("Result")

AGAIN = 0.01  # seconds
ON_ITS_WAY = 2.0  # seconds after one was raised, in which another one changes nothing

_raised = float("-inf")


def heed() -> None:
    """From now on. Where Ctrl-C is ignored, as in a shell's background, it stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        sys.unraisablehook = _report
        signal.signal(signal.SIGALRM, _interrupt)
        signal.signal(signal.SIGINT, _interrupt)


def interruptible(work: Callable[[], Result]) -> Result:
    """What it gives. Raises KeyboardInterrupt after Ctrl-C."""
    return work()


def over() -> None:
    """Ctrl-C does nothing any more."""
    if signal.getsignal(signal.SIGINT) is _interrupt:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _raised
    if number == signal.SIGINT and time.monotonic() < _raised + ON_ITS_WAY:
        return
    if _may_raise(frame):
        _raised = time.monotonic()
        raise KeyboardInterrupt
    signal.setitimer(signal.ITIMER_REAL, AGAIN)  # no thread: its locks may be held where the signal came


def _may_raise(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code is not interruptible.__code__:
        if frame.f_code in (_report.__code__, _interrupt.__code__):
            return False
        frame = frame.f_back
    return frame is not None


def _report(swallowed: Any) -> None:
    """In the place of sys.unraisablehook."""
    if swallowed.exc_type is KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
    else:
        sys.__unraisablehook__(swallowed)
