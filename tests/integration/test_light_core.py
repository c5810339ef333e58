"""Without its extras, `probe` does what `make table` shows; what needs an extra names it."""

import shlex
import sys
from pathlib import Path

import pytest

from tests.installed import ISOLATED, only
from tests.integration.commands import ROOT, Shell

COMMANDS = """
from typer.testing import CliRunner
from probe.cli import app

def run(words, code=0):
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == code, (words, done.output, done.exception)
    print(done.output)

run("extract sample --backbone descriptor")
run("fit quickstart --row PCA-whitening")
run("table unifex_table5")
run("embed " + next(__import__("glob").iglob("out/runs/*")) + " data/sample/digits/digit-7 --out digits.npy")
run("report quickstart", 2)
run("extract sample --backbone hf:me/model", 2)
"""


@pytest.mark.slow
def test_tables_runs_and_vectors_need_no_extra(tmp_path: Path, extracted_sample: Path):
    (tmp_path / "data").symlink_to(extracted_sample / "data")
    shell = Shell(tmp_path, only(["probe"], tmp_path / "packages", ROOT))
    process = shell.start(shlex.join([sys.executable, *ISOLATED, COMMANDS]))
    said, error = process.communicate()
    assert process.returncode == 0, error
    assert "PCA-whitening" in said
    assert "probe report needs matplotlib, which is not installed; run: pip install 'probe[report]'" in said
    assert "a backbone of transformers needs transformers, which is not installed; run: pip install 'probe[" in said
