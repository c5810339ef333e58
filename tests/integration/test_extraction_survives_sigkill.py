"""SIGKILL at six random instants of real extractions, each followed by a restart.

Most are killed in forked processes, which need no seconds to start, so that the instants fall into the work and into
the merge and not into imports; the others are whole `probe extract` commands.
"""

import os
import random
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import pytest
import torch

from feature_cache import FeatureStore, StoreWriter
from probe.backbones.catalogue import find_backbone
from probe.backbones.encoder import load_encoder
from probe.data.folder import image_folder
from probe.extract.local import extract
from probe.extract.plan import Settings, Task, plan_extraction
from probe.workspace import Workspace
from tests.integration.commands import Shell, photos

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES, EACH, BATCH, PART = 16, 11, 16, 32
COMMAND = f"probe extract photos --backbone descriptor --batch {BATCH} --part {PART} --workers 2 --device cpu"
BROKEN = "class3/7.png"

KILLS = 6
ROUND = ["work", "command", "work", "work", "merge", "merge", "merge", "merge"]  # of one store; then comes the next
PHASES = ["work", "merge", "removal"]  # of the parts, after the merge


class Extraction:
    """The extraction of one folder in processes of their own, as `probe extract` does it."""

    def __init__(self, home: Path) -> None:
        self.workspace = Workspace(home / "data", home / "features", home / "out")
        self.manifest = image_folder(home / "photos")
        self.images = self.manifest.images("photos")
        self.store = self.workspace.store("photos", "descriptor")
        self.parts = self.store.with_name(f"{self.store.name}.parts")
        backbone = find_backbone("descriptor")
        self.spec, self.encoder = backbone.spec(), load_encoder(backbone, torch.device("cpu"))

    def task(self) -> Task:
        (task,) = plan_extraction(self.manifest, "descriptor", self.spec, self.workspace)
        return task

    def start(self, workers: int) -> "Process":
        """Planned here: Polars' threads do not survive a fork."""
        task, settings = self.task(), Settings(BATCH, workers, PART)
        return Process(lambda said: extract(task, Telling(self.encoder, said), self.spec, settings))

    def durable(self) -> set[str]:
        """The images that are on disk, in the store or in parts, decoded or not."""
        stores = [FeatureStore(file) for file in [self.store] * self.store.exists() + self.written()]
        return {image for store in stores for image in [*store.ids, *(failure.id for failure in store.failed)]}

    def written(self) -> list[Path]:
        """The parts on disk."""
        return list(self.parts.glob("*.h5"))

    def phase(self) -> str:
        """How far a killed extraction had come."""
        if len(self.durable()) < len(self.images):
            return "work"
        return "removal" if self.store.exists() else "merge"


class Telling:
    """The encoder; it says of each batch how many images it gets."""

    def __init__(self, encoder, said: int) -> None:
        self.encoder, self.said = encoder, said
        self.dim, self.prepare, self.precision = encoder.dim, encoder.prepare, encoder.precision
        os.write(said, b"\0")  # it begins

    def __call__(self, batch: torch.Tensor, /) -> torch.Tensor:
        os.write(self.said, bytes([len(batch)]))
        return self.encoder(batch)


class Process:
    """A forked process, in a group of its own with its workers. `work` is called with where it may write bytes."""

    def __init__(self, work: Callable[[int], object]) -> None:
        self.hearing, said = os.pipe()
        self.heard: list[int] = []
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setpgid(0, 0)
                work(said)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        os.close(said)

    def hear(self) -> int:
        """Waits until it begins, or for the next batch; returns how many images the encoder has been given."""
        byte = os.read(self.hearing, 1)
        assert byte, "it ended too soon"
        self.heard += byte
        return sum(self.heard)

    def kill(self, group: bool) -> int:
        """SIGKILL; returns how the process ended. What it said before is in `heard`."""
        (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)
        return self.wait()

    def wait(self) -> int:
        status = os.waitpid(self.pid, 0)[1]
        os.set_blocking(self.hearing, False)
        try:
            while byte := os.read(self.hearing, 1 << 10):
                self.heard += byte
        except BlockingIOError:
            pass  # an orphaned worker still has the other end
        os.close(self.hearing)
        return os.waitstatus_to_exitcode(status)


@pytest.fixture
def extraction(shell: Shell) -> Extraction:
    photos(shell.home / "photos", CLASSES, EACH)
    (shell.home / "photos" / BROKEN).write_bytes(b"not an image")
    return Extraction(shell.home)


@dataclass(frozen=True)
class Undisturbed:
    """What a run gives that nothing interferes with; `working`, `merging`: seconds until the last batch, and after."""

    columns: dict[str, bytes]
    working: float
    merging: float


@pytest.fixture
def undisturbed(extraction: Extraction) -> Undisturbed:
    process = extraction.start(workers=2)
    process.hear()  # it begins
    started = time.monotonic()
    while process.hear() < len(extraction.images) - 1:
        pass
    worked = time.monotonic()
    assert process.wait() == 0
    store = FeatureStore(extraction.store)
    assert store.ids == [image for image in extraction.images if image != BROKEN]
    assert [failure.id for failure in store.failed] == [BROKEN]
    return Undisturbed(columns(extraction.store), worked - started, time.monotonic() - worked)


def columns(path: Path) -> dict[str, bytes]:
    with h5py.File(path) as file:
        names = ("features", "id", "size", "content", "failed")
        return {name: file[name][:].tobytes() for name in names}  # pyright: ignore


def killed_command(extraction: Extraction, shell: Shell, usual: Undisturbed, chance: random.Random) -> int:
    """A command that is killed about one of its first parts; returns how it ended."""
    parts = len(extraction.written()) + chance.randint(0, 2)
    with shell.start(COMMAND) as process:
        assert process.stderr is not None
        begun = next((line for line in process.stderr if line.startswith("extract descriptor on cpu")), None)
        assert begun, "it ended too soon"
        while len(extraction.written()) < parts and process.poll() is None:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, usual.working / 5))
        process.kill()
    return process.returncode


def killed_process(extraction: Extraction, place: str, usual: Undisturbed, chance: random.Random) -> tuple[int, int]:
    """A process that is killed in the given place; returns how it ended and how many images it extracted in vain."""
    before = extraction.durable() | {BROKEN}
    todo = len(set(extraction.images) - before)
    process = extraction.start(workers=chance.choice([0, 2]))
    instant = todo if place == "merge" else chance.randint(0, todo // 2)
    while process.hear() < instant:
        pass
    time.sleep(chance.uniform(0, usual.merging if place == "merge" else usual.working / 10))
    ended = process.kill(group=chance.random() < 0.5)
    return ended, sum(process.heard) - len(extraction.durable() - before)


def enough(kills: Counter[str]) -> bool:
    return sum(kills[phase] for phase in PHASES) >= KILLS and min(kills["command"], kills["work"], kills["merge"]) >= 1


def require_undisturbed(extraction: Extraction, usual: Undisturbed) -> None:
    assert columns(extraction.store) == usual.columns
    assert {file.name for file in extraction.store.parent.iterdir()} <= {"descriptor.h5", "descriptor.h5.lock"}


@pytest.mark.slow
def test_six_kills_leave_the_store_of_an_undisturbed_run_and_cost_a_part_each(
    extraction: Extraction, shell: Shell, undisturbed: Undisturbed
) -> None:
    chance, kills = random.Random(4), Counter[str]()
    for _ in range(40):
        shutil.rmtree(extraction.store.parent)
        for place in ROUND:
            if enough(kills):
                break
            before, lost = extraction.durable(), 0
            command = place == "command" and kills["command"] < 1 and len(before) < len(extraction.images)
            if command:
                ended = killed_command(extraction, shell, undisturbed, chance)
            else:
                ended, lost = killed_process(extraction, place, undisturbed, chance)
            after = extraction.durable()
            assert ended in (0, -signal.SIGKILL)
            assert after >= before
            assert after == set(extraction.images[: len(after)])
            assert 0 <= lost <= PART
            if ended == 0:
                break  # the instant was after the end
            kills.update([extraction.phase(), "command"] if command else [extraction.phase()])
        kept = extraction.durable() | {BROKEN}
        last = extraction.start(workers=2)
        assert last.wait() == 0
        assert sum(last.heard) == len(set(extraction.images) - kept)
        require_undisturbed(extraction, undisturbed)
        if enough(kills):
            break
    print(f"killed: {dict(kills)}")
    assert enough(kills)


@pytest.mark.slow
def test_a_killed_command_goes_on_from_its_parts_when_it_is_entered_again(
    extraction: Extraction, shell: Shell, undisturbed: Undisturbed
) -> None:
    shutil.rmtree(extraction.store.parent)
    with shell.start(COMMAND) as process:
        while not extraction.written() and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    kept = len(extraction.durable())
    assert PART // 2 <= kept < len(extraction.images)  # a part is written in halves
    said = shell(COMMAND).stderr
    assert f"photos: {kept:,} images were extracted by an interrupted run\n" in said
    assert f"extract photos: {len(extraction.images) - kept:,}/" in said
    require_undisturbed(extraction, undisturbed)


@pytest.mark.slow
def test_the_command_after_a_kill_between_the_merge_and_the_removal_of_the_parts_removes_them(
    extraction: Extraction, shell: Shell, undisturbed: Undisturbed
) -> None:
    (block,) = FeatureStore(extraction.store).blocks()
    elsewhere = shell.home / "elsewhere.h5"
    with StoreWriter(elsewhere, extraction.spec) as writer:
        writer.add(block)
        writer.parts_folder.rename(extraction.parts)
    shell(COMMAND)
    require_undisturbed(extraction, undisturbed)
