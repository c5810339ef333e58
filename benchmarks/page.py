"""docs/speed.md, from the figures that are kept in docs/speed.json; reports of new runs take the place of those of the
same benchmarks.

python -m benchmarks.page out/bench.json out/gpu.json      # `make speed`
"""

import argparse
import re
import sys
from itertools import groupby
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure as Drawing

from benchmarks.__main__ import BENCHMARKS
from benchmarks.gpu.__main__ import BENCHMARKS as OF_GPU
from benchmarks.pairs import cells
from benchmarks.results import Cost, Report, Section
from benchmarks.wheels import ROOT

DOCS = ROOT / "docs"
KEPT, PAGE, PLOTS = DOCS / "speed.json", DOCS / "speed.md", "speed.svg"
TEXT = Path(__file__).with_name("page.md")
COLUMNS = ("work", "against", "times as fast (range)", "aim", "seconds", "theirs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, nargs="*", help="of `make bench` and `make gpu`")
    options = parser.parse_args()
    kept = read(KEPT)
    for path in options.reports:
        try:
            kept = merged(kept, read(path))
        except (OSError, ValueError) as error:
            sys.exit(f"error: {path}: {error}")
    KEPT.write_text(kept.model_dump_json(indent=1) + "\n")
    PAGE.write_text(page(kept))
    draw(kept, DOCS / PLOTS)


def read(path: Path) -> Report:
    return Report.model_validate_json(path.read_text())


def merged(kept: Report, new: Report) -> Report:
    """Raises ValueError for a section that failed, or whose figures say nothing."""
    for section in new.sections:
        if section.error:
            raise ValueError(f"{section.name} failed ({section.error.splitlines()[-1]}); measure it again.")
        if "--small" in section.command.split():
            raise ValueError(f"{section.name} was run with --small, and its figures say nothing.")
    sections = {section.name: section for section in (*kept.sections, *new.sections)}
    order = [*BENCHMARKS, *OF_GPU]
    return new.model_copy(
        update={
            "sections": sorted(sections.values(), key=lambda section: order.index(section.name)),
            "tests": new.tests or kept.tests,
            "installed": new.installed or kept.installed,
        }
    )


def page(report: Report) -> str:
    found = {section.name: section for section in report.sections}
    parts = {name: part(each.title, found.get(name), "Not measured.") for name, each in BENCHMARKS.items()}
    missing = "Not measured: no machine with a GPU was at hand."
    of_gpu = {name: part(each.title, found.get(name), missing) for name, each in OF_GPU.items()}
    return TEXT.read_text().format(
        cpu="\n".join(parts.values()), growth=growth(report), tests=of_tests(report), gpu="\n".join(of_gpu.values())
    )


def part(title: str, section: Section | None, missing: str) -> str:
    if section is None:
        return f"### {title}\n\n{missing}\n"
    lines = [f"### {title}", "", f"`{section.command}`, {section.day}, {section.machine}:", ""]
    lines += ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for each in section.comparisons:
        ours, against, theirs, ratio, aim = cells(each)
        work = f"[{each.work}]({each.page})" if each.page else each.work
        aim += {None: "", True: ", met", False: ", missed"}[each.is_met]
        lines.append(f"| {work} | {against} | {ratio} | {aim} | {ours} | {theirs} |")
    figures = [each for each in section.results if each.kind == "figure"]
    lines += ["", *(f"* {each.what}: {each.value:.3g} {each.unit}".rstrip() for each in figures)]
    return "\n".join(lines).rstrip() + "\n"


def of_tests(report: Report) -> str:
    if report.tests is None:
        return "The tests marked `cuda` have not been run on a GPU."
    tests = report.tests
    versions = ", ".join(f"{name} {version}" for name, version in report.installed.items())
    return f"`{tests.command}`: {tests.passed} passed, {len(tests.failed)} failed ({versions})."


# ---- cost as work grows ----


def curves(report: Report) -> dict[str, dict[str, list[Cost]]]:
    """By what grows, then by whose cost it is; points in the order of their size."""
    costs = [result for section in report.sections for result in section.results if isinstance(result, Cost)]
    found: dict[str, dict[str, list[Cost]]] = {}
    for cost in costs:
        found.setdefault(cost.axis, {}).setdefault(cost.side, []).append(cost)
    return {axis: {side: sorted(c, key=lambda cost: cost.size) for side, c in of.items()} for axis, of in found.items()}


def growth(report: Report) -> str:
    if not curves(report):
        return "Not measured."
    lines = [f"![Seconds as classes, index rows, dimensions, images and ids grow]({PLOTS})", ""]
    for axis, sides in curves(report).items():
        lines += [f"| {axis} | {' | '.join(sides)} |", "|" + "---:|" * (len(sides) + 1)]
        points = sorted((cost for costs in sides.values() for cost in costs), key=lambda cost: cost.size)
        for size, at_size in groupby(points, key=lambda cost: cost.size):
            seconds = {cost.side: f"{cost.seconds:.3g} s" for cost in at_size}
            lines.append(f"| {size:,.0f} | {' | '.join(seconds.get(side, '') for side in sides)} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def draw(report: Report, path: Path) -> None:
    """A panel for each thing that grows, both axes logarithmic; no file where nothing was measured."""
    found = curves(report)
    if not found:
        path.unlink(missing_ok=True)
        return
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "probe", "font.family": ["DejaVu Sans"]}):
        drawing = Drawing(figsize=(4 * len(found), 3.2), layout="constrained")
        for axes, (axis, sides) in zip(drawing.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
            for marker, (side, costs) in zip("os^Dv", sides.items(), strict=False):
                axes.loglog([c.size for c in costs], [c.seconds for c in costs], marker=marker, label=side)
            axes.set(xlabel=axis, ylabel="seconds")
            axes.legend(fontsize="small")
        drawing.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    path.write_text(re.sub(r"[ \t]+$", "", path.read_text(), flags=re.MULTILINE))


if __name__ == "__main__":
    main()
