"""Two rows of a recipe that mean the same run have it fitted once, not twice and not by two processes at a time."""

from pathlib import Path

from probe import heads
from probe.extract.features import CachedFeatures
from probe.runs import sweep
from probe.runs.run import Run
from tests.fit.world import untrained


def test_a_run_that_is_named_twice_is_fitted_once(cached: CachedFeatures, tmp_path: Path, capsys) -> None:
    runs = [Run(untrained(heads.FullDimension.Config()), cached.identity, tmp_path) for _ in range(2)]
    assert runs[0].path == runs[1].path
    sweep([(run, cached) for run in runs], "cpu")
    err = capsys.readouterr().err
    assert sum(line.startswith(runs[0].name) and " test " in line for line in err.splitlines()) == 1
