import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("kills", "fitted"), [(1, "fitted"), slow(20, ""), slow(20, "fitted")])
def test_killed_at_any_instant_it_is_as_before_or_after_a_change(tmp_path: Path, kills: int, fitted: str):
    words = [sys.executable, "-m", "tests.index.kills", str(tmp_path), "1", str(kills), *fitted.split()]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    steps, killed = map(int, done.stdout.split())
    assert killed == kills
    assert steps > 0  # it got somewhere
