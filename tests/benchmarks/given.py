"""A benchmark that finds one thing, and then does what the environment says."""

import os
import subprocess
import time
from collections.abc import Iterator

from benchmarks.results import Figure, Result
from benchmarks.sections import Size


def measure(size: Size) -> Iterator[Result]:
    print("this is no result")
    yield Figure(what=f"of {size.rounds} rounds", value=1.0, unit="s")
    if os.environ["THEN"] == "fail":
        raise RuntimeError("the machine is on fire")
    if os.environ["THEN"] == "hang":
        subprocess.Popen(["sleep", "60"])
        time.sleep(60)
