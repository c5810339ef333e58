import io
import re

import pytest

import probe.progress
from probe.progress import clock, track, track_if_long
from probe.terminal import PlainConsole


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (3.14, "3.1 s"),
        (12.4, "12 s"),
        (60, "1:00 min"),
        (185, "3:05 min"),
        (3599, "59:59 min"),
        (3600, "1:00:00 h"),
        (7385, "2:03:05 h"),
        (119.7, "2:00 min"),
        (3599.7, "1:00:00 h"),
    ],
)
def test_a_duration_is_told_in_its_natural_unit(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_away_from_a_terminal_the_end_is_one_plain_line_with_the_rate(capsys: pytest.CaptureFixture[str]) -> None:
    with track("extract pets", 1200, "images") as advance:
        for _ in range(3):
            advance(400)
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"extract pets: 1,200/1,200 images in 0\.\d s, [\d,]+ images/s\n", err)


def test_away_from_a_terminal_long_work_says_how_long_it_will_still_take(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe.progress, "SECONDS_BETWEEN_LINES", 0)
    with track("fit", 4, "epochs") as advance:
        advance(note="loss 2.5")
        advance(3)
    first, last = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"fit: 1/4 epochs, [\d,.e+]+ epochs/s, ETA 0\.\d s, loss 2\.5", first)
    assert last.startswith("fit: 4/4 epochs in ")


def test_work_that_stops_early_says_nothing_of_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped() -> None:
        with track("fit", 4, "epochs") as advance:
            advance(2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert capsys.readouterr().err == ""


def test_on_a_terminal_a_bar_shows_the_count_the_rate_and_the_note(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(probe.progress, "console", PlainConsole(file=screen, force_terminal=True, width=120))
    with track("extract pets", 30, "images") as advance:
        advance(10, "one part")
        advance(20, "all parts")
    last = screen.getvalue()[screen.getvalue().rindex("extract") :]
    for text in ("extract pets", "30/30", "images/s", "all parts"):
        assert text in last


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("name", ["photos [old]", "[/b] photos", "[2024]"])
def test_a_description_is_shown_as_it_is_whatever_its_brackets(
    monkeypatch: pytest.MonkeyPatch, name: str, terminal: bool
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(probe.progress, "console", PlainConsole(file=screen, force_terminal=terminal, width=120))
    with track(f"extract {name}", 1, "images") as advance:
        advance(1)
    assert f"extract {name}" in screen.getvalue()


def test_of_what_takes_less_than_a_second_nothing_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(probe.progress.time, "monotonic", lambda: now[0])
    with track_if_long("search", "comparisons") as report:
        report(0, 100)
        now[0] = 0.9
        report(100, 100)
    assert capsys.readouterr().err == ""
    with track_if_long("search", "comparisons") as report:
        report(0, 100)
        now[0] += 11
        report(50, 100)
        now[0] += 11
        report(100, 100)
    middle, last = capsys.readouterr().err.splitlines()
    assert middle == "search: 50/100 comparisons, 4.55 comparisons/s, ETA 11 s"
    assert last == "search: 100/100 comparisons in 22 s, 4.55 comparisons/s"


def test_on_a_terminal_too_short_work_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, now = io.StringIO(), [0.0]
    monkeypatch.setattr(probe.progress, "console", PlainConsole(file=screen, force_terminal=True, width=120))
    monkeypatch.setattr(probe.progress.time, "monotonic", lambda: now[0])
    with track("search", 10, "comparisons", patience=1.0) as advance:
        advance(10)
    assert screen.getvalue() == ""
    with track("search", 10, "comparisons", patience=1.0) as advance:
        now[0] += 2
        advance(10)
    assert "10/10" in screen.getvalue()
