"""Progress of long work, with rate and ETA: a live bar on a terminal, a plain line now and then elsewhere.

While work goes on, both are of the last half minute, so that a slow start does not blur them; at the end the rate is
that of the whole.

with track("extract sample", total=3000, unit="images") as advance:
    advance(64)
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from probe.terminal import PlainConsole

SECONDS_BETWEEN_LINES = 10.0
WINDOW = 30.0  # seconds over which the rate is taken; also rich's

console = PlainConsole(stderr=True)

Advance = Callable[..., None]
OnProgress = Callable[[int, int], None]  # done and total, from (0, total) on


def silent(done: int, total: int) -> None:
    """Shows nothing."""


def say(message: str) -> None:
    """One line on standard error, as it is: never wrapped, so that a path or a command can be copied."""
    console.print(message, soft_wrap=True)


@contextmanager
def track(description: str, total: int, unit: str, patience: float = 0.0) -> Iterator[Advance]:
    """Yields `advance(n, note="")`, which counts n units as done and shows the note behind the bar.

    Nothing is shown of what takes less than `patience` seconds.
    """
    if console.is_terminal:
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


@contextmanager
def _live(description: str, total: int, unit: str, patience: float) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        _Rate(unit),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    progress = Progress(*columns, console=console)
    task, start = progress.add_task(description, total=total, note=""), time.monotonic()
    with ExitStack() as stack:
        if not patience:
            stack.enter_context(progress)

        def advance(n: int = 1, note: str = "") -> None:
            if not progress.live.is_started and time.monotonic() - start >= patience:
                stack.enter_context(progress)
            progress.advance(task, n)
            if note:
                progress.update(task, note=note)

        yield advance


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text(_pace(task.completed, task.elapsed or 0.0, task.total or 0, self.unit, task.speed or 0.0))


def _lines(description: str, total: int, unit: str, patience: float) -> Advance:
    start = shown = time.monotonic()
    done = 0
    recent = deque([(start, 0)])  # when how much was done, the first one as old as the window

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal done, shown
        done += n
        now = time.monotonic()
        recent.append((now, done))
        while len(recent) > 2 and recent[1][0] <= now - WINDOW:
            recent.popleft()
        if (n and done >= total and now - start >= patience) or now - shown >= SECONDS_BETWEEN_LINES:
            shown = now
            since, before = recent[0]
            pace = _pace(done, now - start, total, unit, (done - before) / (now - since) if now > since else 0.0)
            say(f"{description}: {done:,}/{total:,} {pace}{f', {note}' if note else ''}")

    return advance


def _pace(done: float, elapsed: float, total: float, unit: str, rate: float) -> str:
    if done >= total:
        whole = done / elapsed if elapsed > 0 else 0.0
        return f"{unit} in {clock(elapsed)}, {_number(whole)} {unit}/s"
    eta = f", ETA {clock((total - done) / rate)}" if rate > 0 else ""
    return f"{unit}, {_number(rate)} {unit}/s{eta}"


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def clock(seconds: float) -> str:
    """12 s, 3:05 min or 2:03:05 h."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"
