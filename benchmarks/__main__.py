"""What the docs claim, measured in turn with peers and limits: `make bench`, or some of it: `make bench BENCH=store`.

The table goes to the terminal, everything to a file, from which `make speed` writes docs/speed.md.

python -m benchmarks losses store --json out/bench.json
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from benchmarks import sections
from benchmarks.pairs import cells
from benchmarks.results import Report, Section
from probe.storage import write_whole
from probe.terminal import printer


class Benchmark(NamedTuple):
    module: str
    seconds: int
    """After which it is ended."""
    title: str


BENCHMARKS = {
    "losses": Benchmark("benchmarks.losses", 900, "A training step"),
    "search": Benchmark("benchmarks.search", 900, "Exact search"),
    "extraction": Benchmark("benchmarks.extraction", 900, "Extraction"),
    "allocator": Benchmark("benchmarks.allocator", 300, "Memory kept between batches"),
    "store": Benchmark("benchmarks.store", 900, "The feature store"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; by default all")
    parser.add_argument("--json", type=Path, default=Path("out/bench.json"))
    sections.add_arguments(parser)
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    size = sections.Size(options.device, options.small, options.rounds)
    report = Report()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    for name in options.names or BENCHMARKS:
        module, seconds, _ = BENCHMARKS[name]
        print(f"{name} ...", file=sys.stderr, flush=True)
        report.sections.append(sections.run(name, module, size, seconds))
        write_whole(options.json, report.model_dump_json(indent=1).encode())
    show(report.sections)
    sys.exit(any(section.error for section in report.sections))


def show(found: list[Section]) -> None:
    """One table, a line a comparison; then the machine, figures beside it, and what failed."""
    table = Table("work", "seconds", "against", "seconds", "times as fast (range)", "aim", "is")
    for section in found:
        for each in section.comparisons:
            table.add_row(*map(Text, (each.work, *cells(each), {None: "", True: "met", False: "missed"}[each.is_met])))
        table.add_section()
    printer().print(table)
    for line in dict.fromkeys(str(section.machine) for section in found):
        printer().print(Text(line))
    for section in found:
        for result in section.results:
            if result.kind == "figure":
                printer().print(Text(f"{section.name}: {result.what}: {result.value:.3g} {result.unit}".rstrip()))
        if section.error:
            printer().print(Text(f"{section.name} failed: {section.error}"))


if __name__ == "__main__":
    main()
