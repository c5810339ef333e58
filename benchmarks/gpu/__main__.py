"""The check of a machine with a GPU: every test marked `cuda`, then a benchmark of at most six minutes, as one JSON.

It is written anew after each part, so that what was found stays whatever comes after. `make gpu` first installs what
the machine lacks (benchmarks/wheels.py); `make gpu-rehearsal` does all of it at small sizes without a GPU.

python -m benchmarks.gpu --json out/gpu.json
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import sections
from benchmarks.__main__ import Benchmark, show
from benchmarks.results import Report, Tests
from benchmarks.wheels import ROOT
from probe.storage import write_whole

BENCHMARKS = {  # six minutes in all
    "gpu-fit": Benchmark("benchmarks.gpu.fit", 110, "A fit on a GPU"),
    "gpu-search": Benchmark("benchmarks.gpu.search", 70, "Exact search on a GPU"),
    "gpu-extraction": Benchmark("benchmarks.gpu.extraction", 140, "Extraction on a GPU"),
    "gpu-streaming": Benchmark("benchmarks.gpu.streaming", 40, "Features on their way to a GPU"),
}
MOST_SECONDS_OF_TESTS = 240
TOLD = ("torch", "triton", "numpy", "timm", "transformers", "h5py", "polars", "pydantic", "pytorch-metric-learning")
MARK = re.compile(r"^\s*(?:@|pytestmark = )pytest\.mark\.cuda$", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("out/gpu.json"))
    parser.add_argument("--only", nargs="+", choices=["tests", *BENCHMARKS], default=["tests", *BENCHMARKS])
    sections.add_arguments(parser)
    parser.set_defaults(device="cuda")
    options = parser.parse_args()
    size = sections.Size(options.device, options.small, options.rounds)
    report = Report(installed={name: found for name in TOLD if (found := installed(name))})
    options.json.parent.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        print(f"{name} ...", file=sys.stderr, flush=True)
        if name == "tests":
            report = report.model_copy(update={"tests": run_tests(options.device)})
        else:
            module, seconds, _ = BENCHMARKS[name]
            report.sections.append(sections.run(name, module, size, seconds))
        write_whole(options.json, report.model_dump_json(indent=1).encode())
    if tests := report.tests:
        print(f"tests: {tests.passed} passed, {len(tests.failed)} failed, {len(tests.skipped)} skipped {tests.error}")
        for name, message in [*tests.failed.items(), *tests.skipped.items()]:
            print(f"  {name}: {message}")
    show(report.sections)
    print(f"all of it is in {options.json}")
    sys.exit(failed(report))


def failed(report: Report) -> bool:
    """A test that was skipped is one that did not run where it should have."""
    tests = report.tests
    of_tests = tests is not None and bool(tests.error or tests.failed or tests.skipped or not tests.passed)
    return of_tests or any(section.error for section in report.sections)


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def marked() -> list[Path]:
    """The files in which a test is: others are not even imported, as they need more than is installed."""
    return sorted(file for file in (ROOT / "tests").rglob("test_*.py") if MARK.search(file.read_text()))


def run_tests(device: str) -> Tests:
    """Those that are marked `cuda`."""
    files = [str(file.relative_to(ROOT)) for file in marked()]
    start, error = time.monotonic(), ""
    with tempfile.TemporaryDirectory() as folder:
        outcome = Path(folder) / "outcome.xml"
        command = ["-m", "pytest", "-m", "cuda", "--tb=short"]
        words = [sys.executable, *command, f"--junitxml={outcome}", *files]
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "CUDA_TESTS_ON": device}
        try:
            done = subprocess.run(
                words, cwd=ROOT, env=environment, timeout=MOST_SECONDS_OF_TESTS, capture_output=True, text=True
            )
            print(done.stdout, done.stderr, file=sys.stderr)
        except subprocess.TimeoutExpired as ended:
            error = f"ended after {MOST_SECONDS_OF_TESTS} s; {str(ended.stdout)[-sections.TAIL :]}"
        else:
            if not outcome.exists():
                error = (done.stdout + done.stderr)[-sections.TAIL :]
        cases = list(ElementTree.parse(outcome).iter("testcase")) if outcome.exists() else []
    found: dict[str, dict[str, str]] = {"failure": {}, "error": {}, "skipped": {}}
    for case in cases:
        for child in case:
            if child.tag in found:
                name = f"{case.get('classname')}::{case.get('name')}"
                found[child.tag][name] = (child.get("message") or "").partition("\n")[0]
    return Tests(
        command=shlex.join(["python", *command]),
        seconds=round(time.monotonic() - start, 1),
        passed=len(cases) - sum(map(len, found.values())),
        failed=found["failure"] | found["error"],
        skipped=found["skipped"],
        error=error,
    )


if __name__ == "__main__":
    main()
