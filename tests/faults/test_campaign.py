"""A share of the campaign (`make break`), and that nothing is left out of it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from probe.data.readers.base import READERS
from tests.conftest import slow
from tests.documents import MAIN
from tests.faults.damage import BAD, damage_one
from tests.faults.formats import FORMATS, OTHERS, OWN, PUBLISHED_FORMATS
from tests.faults.kills import COMMANDS
from tests.faults.mounts import can_mount
from tests.faults.mutations import KINDS, mutate

ROOT = Path(__file__).resolve().parents[2]
# What commands leave that no command reads.
ONLY_WRITTEN = ("*.lock", "out/tables/recipe.*", "out/evaluations/*/neighbours.*", "*/curation.md", "*.csv")


EACH = ["store", *OTHERS, *PUBLISHED_FORMATS]
QUICK = [(name, 3) for name in EACH if name != "annotations, matlab"]  # which a process of its own reads


@pytest.mark.parametrize(("name", "cases"), [*QUICK, *(slow(name, 20) for name in EACH)])
def test_a_damaged_file_is_told_or_harmless_or_says_something_else(
    sources: Path, name: str, cases: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sources)
    format = FORMATS[name]
    truth = format.read()
    assert truth.code == 0, truth.text
    for number in range(cases):
        outcome, said = damage_one(name, truth, seed=1, number=number)
        assert outcome not in BAD, f"{name}, seed 1, case {number}: {outcome}\n{said}"


def test_mutations_of_a_seed_are_the_same_again_and_none_changes_nothing() -> None:
    content = b'{"a": 1, "b": [2.5, 3]}' * 40
    first, again = ([mutate(content, Random(f"{i}")) for i in range(200)] for _ in range(2))
    assert first == again
    assert content not in first
    assert len(set(first)) > 190
    assert all(kind(b"", Random(0)) is not None for kind in KINDS)


def test_every_command_is_disturbed() -> None:
    assert set(commands(MAIN)) == {name.partition(",")[0] for name in COMMANDS}


def commands(command, path: str = "") -> list[str]:
    below = getattr(command, "commands", None)
    return (
        [path] if below is None else [name for key in below for name in commands(below[key], f"{path} {key}".strip())]
    )


def test_every_kind_of_published_annotations_is_damaged() -> None:
    of_files = {kind for kind in READERS.kinds if kind != "tree"}  # which reads the names of images
    assert {name.removeprefix("annotations, ") for name in PUBLISHED_FORMATS} == of_files


def campaign(folder: Path, targets: list[str], seed: int = 1) -> dict[str, dict[str, int]]:
    """A short one, in which nothing may be found; returns the counts."""
    words = ["--mutations", "5", "--kills", "1", "--out", str(folder), "--work", str(folder), "--seed", str(seed)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.campaign", *words, "--targets", *targets],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    bad = folder / "bad.txt"
    assert done.returncode == 0, f"{done.stdout}\n{bad.read_text() if bad.exists() else done.stderr}"
    counts = json.loads((folder / "counts.json").read_text())
    assert [target for target in targets if not any(target in name for name in counts)] == []
    return {name: of[str(seed)]["counts"] for name, of in counts.items()}


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="only root may make a disk read-only for one process, and not everywhere")
def test_a_command_says_in_a_sentence_that_a_disk_is_read_only(tmp_path: Path) -> None:
    """`make break` has the other commands."""
    campaign(
        tmp_path, [f"{command}: read-only disk" for command in ("table", "data check, spoilt", "embed", "index add")]
    )


@pytest.mark.slow
def test_a_choice_of_heads_that_is_killed_again_and_again_ends_with_the_same_head(tmp_path: Path) -> None:
    counts = campaign(tmp_path, ["fit, auto: SIGKILL"], seed=132)  # which kills it in the middle, three times
    assert counts["fit, auto: SIGKILL"]["stops"] > 0


@pytest.mark.slow
def test_a_small_campaign_finds_nothing_and_damages_every_file_that_commands_leave(tmp_path: Path) -> None:
    """The world that the campaign has made has all files that its commands leave."""
    kills = ["extract: SIGKILL", "cache import: SIGTERM", "cache merge: SIGKILL", "fit: parent killed"]
    kills += ["fit, jobs: worker killed", "table: disk full"]
    campaign(tmp_path, [*(name for name in OWN if name != "store"), *kills])
    home = tmp_path / "world" / "reported"
    made = {file.relative_to(home) for file in home.rglob("*") if file.is_file()}
    brought = {file.relative_to(tmp_path / "world" / "photos") for file in (tmp_path / "world" / "photos").rglob("*")}
    read = {file.relative_to(home) for format in FORMATS.values() for file in home.glob(format.file)}
    runs = {file for file in made if file.parent.parent.name == "runs"}  # of which one stands for all
    names = {file.name for file in read}
    left = {file for file in made - brought - read if not any(file.match(pattern) for pattern in ONLY_WRITTEN)}
    assert {file for file in left if file not in runs or file.name not in names} == set()
