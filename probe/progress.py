"""Progress of long work, with rate and ETA: a live view on a terminal, a plain line now and then elsewhere.

While work goes on, both are of the last half minute, without what came before its first step; at the end the rate is
that of the whole. There is no ETA until something can be said of it. On a narrow terminal the rate goes to a line of
its own; count, rate, ETA and note are never cut, and the bar is the last to shrink and the only one to go.

with track("extract sample", total=3000, unit="images") as advance:
    advance(64)
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from probe.terminal import PlainConsole, print_text, wrapped

SECONDS_BETWEEN_LINES = 10.0
WINDOW = 30.0  # seconds over which the rate is taken
SETTLED = 5.0  # seconds after the first step, or
TELLING = 0.05  # the share of all work, from which on there is an ETA
BAR, LEAST_BAR = 30, 4

console = PlainConsole(stderr=True)

Advance = Callable[..., None]
OnProgress = Callable[[int, int], None]  # done and total, from (0, total) on


def silent(done: int, total: int) -> None:
    """Shows nothing."""


def counting(report: OnProgress, total: int) -> Callable[[int], None]:
    """What is told how much more is done, and tells `report` how much is done in all."""
    done = 0

    def advance(n: int) -> None:
        nonlocal done
        done += n
        report(done, total)

    advance(0)
    return advance


def say(message: str) -> None:
    """One line on standard error; on a terminal wrapped by words, but paths and commands are whole, to be copied."""
    print_text(message, console)


@contextmanager
def track(description: str, total: int, unit: str, patience: float = 0.0, shown: bool = True) -> Iterator[Advance]:
    """Yields `advance(n, note="")`, which counts n units as done and shows the note behind the bar.

    Nothing is shown of what takes less than `patience` seconds, and of what is not to be `shown`.
    """
    if not shown:
        yield lambda n, note="": None
    elif console.is_terminal:
        with _live(description, total, unit, patience) as advance:
            yield advance
    else:
        yield _lines(description, total, unit, patience)


@contextmanager
def track_if_long(description: str, unit: str) -> Iterator[OnProgress]:
    """Yields what is told how much of it all is done; nothing is shown of what takes less than a second."""
    with ExitStack() as stack:
        advance: Advance | None = None
        before = 0

        def report(done: int, total: int) -> None:
            nonlocal advance, before
            if advance is None:
                advance = stack.enter_context(track(description, total, unit, patience=1.0))
            advance(done - before)
            before = done

        yield report


class _Pace:
    """How much of it is done, and how fast."""

    def __init__(self, total: int, unit: str) -> None:
        self.done, self.total, self.unit = 0, total, unit
        self._start = self._first = time.monotonic()
        self._recent = deque([(self._start, 0)])  # when how much was done, the first one as old as the window

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._start

    def add(self, n: int) -> None:
        now = time.monotonic()
        if n and not self.done:
            self._first = now
        elif n and self._recent[0] == (self._start, 0):
            self._recent.popleft()  # what came before the first step is known to be another kind of work
        self.done += n
        if n:
            self._recent.append((now, self.done))
        while len(self._recent) > 2 and self._recent[1][0] <= now - WINDOW:
            self._recent.popleft()

    def __str__(self) -> str:
        """`images, 96 images/s, ETA 3:05 min`."""
        if self.done >= self.total:
            whole = self.done / self.elapsed if self.elapsed > 0 else 0.0
            return f"{self.unit} in {clock(self.elapsed)}, {_number(whole)} {self.unit}/s"
        if not self.done:
            return self.unit
        now, (since, before) = time.monotonic(), self._recent[0]
        rate = (self.done - before) / (now - since) if now > since else 0.0
        is_telling = self.done >= TELLING * self.total or now - self._first >= SETTLED
        eta = f", ETA {clock((self.total - self.done) / rate)}" if rate > 0 and is_telling else ""
        return f"{self.unit}, {_number(rate)} {self.unit}/s{eta}"


@dataclass
class _View:
    """What stands on a terminal while work goes on: bar, count and rate in a line or two, and the note below."""

    description: str
    pace: _Pace
    note: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, count = options.max_width, f"{self.pace.done}/{self.pace.total}"
        spare = width - cell_len(f"{self.description}  {count}") - 1
        pace = str(self.pace)
        together = spare - cell_len(pace) - 1 >= LEAST_BAR
        bar = min(BAR, spare - together * (cell_len(pace) + 1))
        if bar >= LEAST_BAR:
            line = Table.grid(padding=(0, 1, 0, 0))
            shown = ProgressBar(self.pace.total or 1, self.pace.done if self.pace.total else 1, width=bar)
            line.add_row(Text(self.description), shown, count, *[pace] * together)
            yield line
        else:
            yield Text(wrapped(f"{self.description} {count}", width))
        if not together:
            yield Text(wrapped(pace, width))
        if self.note:
            yield Text(wrapped(self.note, width), style="dim")


@contextmanager
def _live(description: str, total: int, unit: str, patience: float) -> Iterator[Advance]:
    view = _View(description, _Pace(total, unit))
    live = Live(view, console=console, refresh_per_second=10)
    with ExitStack() as stack:
        if not patience:
            stack.enter_context(live)

        def advance(n: int = 1, note: str = "") -> None:
            if not live.is_started and view.pace.elapsed >= patience:
                stack.enter_context(live)
            view.pace.add(n)
            view.note = note or view.note

        yield advance


def _lines(description: str, total: int, unit: str, patience: float) -> Advance:
    pace = _Pace(total, unit)
    shown = time.monotonic()

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal shown
        pace.add(n)
        now = time.monotonic()
        if (n and pace.done >= total and pace.elapsed >= patience) or now - shown >= SECONDS_BETWEEN_LINES:
            shown = now
            say(f"{description}: {pace.done:,}/{total:,} {pace}{f', {note}' if note else ''}")

    return advance


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def clock(seconds: float) -> str:
    """12 s, 3:05 min or 2:03:05 h."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"
