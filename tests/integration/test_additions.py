"""CONTRIBUTING.md is true: a loss, a metric, a reader and a table are one new file each, and nothing lists them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
FILES = re.compile(r"```(?:python|yaml)\n# (?P<path>\S+)\n(?P<text>.*?)```", re.DOTALL)
DATASETS = """
sources:
  pictures: {folders: [pets], holds: [cat0.png]}
datasets:
  pets:
    title: Two classes of made images
    domain: pets
    source: pictures
    folders: [pets]
    tables:
      - {kind: pairs, file: train.txt, image: "{path}", label: "{class}", part: train}
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with each of CONTRIBUTING's files in it, and nothing else changed."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("probe", "feature_cache", "recipes"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for found in FILES.finditer((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        path = folder / found["path"]
        assert not path.exists(), f"{path} is no new file"
        path.write_text(found["text"], encoding="utf-8")
    return folder


def probe(copy: Path, *words: str) -> str:
    places = {"PROBE_DATA_ROOT": "data", "PROBE_CACHE": "features", "PROBE_OUT": "out"}
    environment = os.environ | {name: str(copy / place) for name, place in places.items()}
    done = subprocess.run(
        [sys.executable, "-m", "probe", *words],
        cwd=copy,
        env=environment | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_loss_a_metric_and_a_table_are_one_file_each(copy: Path, extracted_sample: Path) -> None:
    shutil.copytree(extracted_sample, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("recipes"))
    table = probe(copy, "fit", "recipes/shifted.yaml")
    assert re.search(r"Shifted cosine +│ +64", table), table
    [run] = (copy / "out" / "runs").glob("*shifted-cosine*")
    scored = probe(copy, "evaluate", str(run), "--data", "sample", "--metric", "H@3")
    assert re.search(r"H@3", scored), scored


def test_a_reader_is_one_file(copy: Path) -> None:
    images = copy / "data" / "pets"
    images.mkdir(parents=True)
    names = [f"{kind}{number}.png" for kind in ("cat", "dog") for number in range(3)]
    for number, name in enumerate(names):
        Image.new("RGB", (32, 32), (40 * number, 0, 0)).save(images / name)
    (images / "train.txt").write_text("".join(f"{name}={name[:3]}\n" for name in names))
    (copy / "own.yaml").write_text(DATASETS)
    counted = probe(copy, "data", "stats", "pets", "--datasets", "own.yaml")
    assert "6" in counted, counted
    assert "2" in counted, counted
