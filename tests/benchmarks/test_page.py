"""docs/speed.md is what the kept figures say."""

from datetime import date
from pathlib import Path

import pytest

from benchmarks.page import KEPT, PAGE, PLOTS, draw, merged, page, read
from benchmarks.pairs import compare, interleave
from benchmarks.results import Comparison, Cost, Machine, Report, Section

MACHINE = Machine(cpu="a CPU", flags=["avx2"], cores=2, threads=1, gpu="", python="3.11", torch="2.11", load=0.1)


def section(name: str, *results: Comparison | Cost, command: str = "python -m x", error: str = "") -> Section:
    return Section(
        name=name,
        command=command,
        day=date(2026, 1, 2),
        machine=MACHINE,
        seconds=1.0,
        error=error,
        results=list(results),
    )


def test_the_page_agrees_with_the_kept_figures() -> None:
    kept = read(KEPT)
    assert page(kept) == PAGE.read_text(), "write it anew: make speed"
    assert any(isinstance(result, Cost) for section in kept.sections for result in section.results) == (
        PAGE.with_name(PLOTS).exists()
    )
    assert not [section.name for section in kept.sections if section.error]


def test_a_line_has_the_median_of_the_ratios_and_their_range() -> None:
    found = Comparison(
        work="load", against="np.load", ours=[1, 2, 4], theirs=[3, 4, 4], target=1.8, amount=8, unit="GB", page="a.md#b"
    )
    text = page(Report(sections=[section("store", found)]))
    assert "| [load](a.md#b) | np.load | 2.00 (1.00 to 3.00) | 1.8 times, met | 2 (4.00 GB/s) | 4 (2.00 GB/s) |" in text
    assert "`python -m x`, 2026-01-02, 2 × a CPU (avx2), 1 thread(s), torch 2.11, load 0.1:" in text
    assert text.count("Not measured: no machine with a GPU was at hand.") == 4


def test_a_goal_in_seconds_needs_no_peer() -> None:
    found = Comparison(work="all", against="", ours=[31.0], theirs=[], goal=30.0)
    assert "| all |  |  | 30 s, missed | 31 |  |" in page(Report(sections=[section("gpu-fit", found)]))


def test_new_figures_replace_those_of_the_same_benchmark_and_no_others() -> None:
    found = [Comparison(work=work, against="x", ours=[1], theirs=[1]) for work in ("old", "new", "other")]
    kept = Report(sections=[section("store", found[0]), section("search", found[2])])
    new = merged(kept, Report(sections=[section("store", found[1])]))
    assert [each.comparisons[0].work for each in new.sections] == ["other", "new"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"error": "it broke"}, r"store failed \(it broke\); measure it again"),
        ({"command": "python -m x --small"}, "store was run with --small, and its figures say nothing"),
    ],
)
def test_figures_that_say_nothing_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        merged(Report(), Report(sections=[section("store", **options)]))


def test_costs_are_drawn_and_told(tmp_path: Path) -> None:
    costs = [Cost(axis="classes", side=side, size=n, seconds=n / 1e4) for n in (1000, 100) for side in ("probe", "x")]
    report = Report(sections=[section("losses", *costs)])
    assert "| classes | probe | x |\n|---:|---:|---:|\n| 100 | 0.01 s | 0.01 s |\n| 1,000 | 0.1 s | 0.1 s |" in page(
        report
    )
    first, again = tmp_path / "first.svg", tmp_path / "again.svg"
    draw(report, first)
    draw(report, again)
    assert first.read_bytes() == again.read_bytes()
    assert b">classes</text>" in first.read_bytes()
    draw(Report(), first)
    assert not first.exists()


def test_sides_are_run_in_turn_and_once_before_they_are_timed() -> None:
    order: list[str] = []
    found = interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2, lambda: order.append("-"))
    assert "".join(order) == "-a-b-a-b-a-b"
    assert [len(seconds) for seconds in found.values()] == [2, 2]
    assert len(compare("work", lambda: None, "other", lambda: None, rounds=3).ratios) == 3
