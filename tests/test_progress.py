import io
import re
from types import SimpleNamespace

import pytest

import probe.progress
from probe.progress import clock, say, track, track_if_long
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


def test_a_slow_start_makes_no_eta_of_days(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(probe.progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(probe.progress, "SECONDS_BETWEEN_LINES", 0)
    with track("fit", 400_000, "images") as advance:
        for now[0] in (30.0, 30.1, 31.0, 36.0):  # half a minute until the first batch, then 1,000 images a second
            advance(0)
            advance(100 if now[0] < 31 else 1000)
    lines = capsys.readouterr().err.splitlines()
    etas = [line.partition("ETA ")[2] for line in lines]
    assert etas[:6] == [""] * 6
    assert etas[-1].endswith("min")


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (30, ["extract a-long-name 10/30", "images, 5 images/s, ETA 4.0 s", "one part, of the whole"]),
        (32, ["extract a-long-name ━╸    10/30", "images, 5 images/s, ETA 4.0 s", "one part, of the whole"]),
        (64, ["extract a-long-name ━━      10/30 images, 5 images/s, ETA 4.0 s", "one part, of the whole"]),
        (16, ["extract", "a-long-name", "10/30", "images, 5", "images/s, ETA", "4.0 s", "one part, of the", "whole"]),
    ],
)
def test_on_a_narrow_terminal_nothing_but_the_bar_goes(
    monkeypatch: pytest.MonkeyPatch, width: int, expected: list[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(probe.progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    pace = probe.progress._Pace(30, "images")
    for now[0] in (1.0, 2.0):
        pace.add(5)
    screen = io.StringIO()
    PlainConsole(file=screen, force_terminal=True, width=width, color_system=None).print(
        probe.progress._View("extract a-long-name", pace, "one part, of the whole")
    )
    assert [line.rstrip() for line in screen.getvalue().splitlines()] == expected


def test_what_is_said_beside_a_live_view_is_wrapped_by_words(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = PlainConsole(file=screen, force_terminal=True, width=20, color_system=None)
    monkeypatch.setattr(probe.progress, "console", console)
    say("three hundred photographs")
    assert screen.getvalue() == "three hundred\nphotographs\n"
