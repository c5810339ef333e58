import errno
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from feature_cache import FeatureStore, SpecMismatchError, StoreWriter
from probe.backbones.catalogue import Backbone
from probe.backbones.encoder import Encoder
from probe.data import loading
from probe.data.folder import image_folder
from probe.data.images import read_image
from probe.data.manifest import Manifest
from probe.errors import ProbeError
from probe.extract.local import extract
from probe.extract.plan import Settings, Task, plan_extraction
from probe.extract.session import extract_sources
from probe.workspace import Workspace
from tests.conftest import quick, slow

Photos = Callable[..., Path]
FAST = Settings(batch=2, workers=0, part=4)


class Extraction:
    """Everything that an extraction takes; `run` is a command line that is entered again and again."""

    def __init__(self, backbone: Backbone, encoder: Encoder, workspace: Workspace, manifest: Manifest) -> None:
        self.backbone, self.encoder, self.workspace, self.manifest = backbone, encoder, workspace, manifest

    def task(self, settings: Settings = FAST) -> Task:
        (task,) = plan_extraction(
            self.manifest, "tiny", self.backbone.spec(settings.stored_as), self.workspace, settings.retry_failed
        )
        return task

    def run(self, settings: Settings = FAST, encoder: Encoder | None = None) -> FeatureStore:
        task = self.task(settings)
        extract(task, encoder or self.encoder, self.backbone.spec(settings.stored_as), settings)
        return FeatureStore(task.store)

    def run_in_another_process(self, settings: Settings = FAST) -> int:
        """Starts `run` and returns the process's id. Planned here: Polars' threads do not survive a fork."""
        task, spec = self.task(settings), self.backbone.spec(settings.stored_as)
        pid = os.fork()
        if pid == 0:
            try:
                extract(task, self.encoder, spec, settings)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        return pid

    @cached_property
    def store(self) -> Path:
        return self.task().store

    def parts(self) -> list[Path]:
        return sorted(self.store.with_name(f"{self.store.name}.parts").glob("*.h5"))


@pytest.fixture
def start(backbone: Backbone, encoder: Encoder, workspace: Workspace) -> Callable[[Path], Extraction]:
    return lambda folder: Extraction(backbone, encoder, workspace, image_folder(folder))


@pytest.fixture
def undisturbed(
    backbone: Backbone, encoder: Encoder, tmp_path: Path
) -> Callable[[Path], tuple[list[str], bytes, bytes]]:
    """What the folder's store holds when nothing goes wrong."""

    def run(folder: Path) -> tuple[list[str], bytes, bytes]:
        elsewhere = Workspace(tmp_path / "data", tmp_path / "undisturbed", tmp_path / "out")
        return content(Extraction(backbone, encoder, elsewhere, image_folder(folder)).run())

    return run


def content(store: FeatureStore) -> tuple[list[str], bytes, bytes]:
    return store.ids, store.load().tobytes(), store.sizes.tobytes()


def kill(pid: int) -> int:
    """SIGKILL; returns how the process ended."""
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def break_images(folder: Path) -> dict[str, str]:
    """Breaks three of the folder's images; id -> what the reason says."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(buffer, "JPEG")
    (folder / "class 0/00.png").write_bytes(b"")
    (folder / "class 1/05.png").write_bytes(buffer.getvalue()[:-700])
    corrupt = bytearray((folder / "class 3/03.png").read_bytes())
    corrupt[60] ^= 0xFF
    (folder / "class 3/03.png").write_bytes(corrupt)
    return {"class 0/00.png": "cannot identify", "class 1/05.png": "truncated", "class 3/03.png": "Error: "}


def test_a_store_holds_what_the_encoder_gives_for_each_image(photos: Photos, start, encoder: Encoder) -> None:
    folder = photos("shoes", 7)
    store = start(folder).run()
    assert store.ids == image_folder(folder).images("shoes")
    for image, features, size in zip(store.ids, store.load(), store.sizes, strict=True):
        pixels, _ = encoder.prepare(folder / image)
        expected = encoder(torch.from_numpy(pixels[None].copy()))[0].numpy()
        np.testing.assert_allclose(features, expected, rtol=2e-3, atol=2e-3)
        assert tuple(size) == Image.open(folder / image).size


@pytest.mark.parametrize(
    "settings", [Settings(2, 2, 4), slow(Settings(2, 1, 1)), Settings(2, 0, 1000)], ids=["2 workers", "1", "0"]
)
def test_workers_and_the_size_of_parts_change_nothing(photos: Photos, start, undisturbed, settings: Settings) -> None:
    folder = photos("shoes", 7)
    assert content(start(folder).run(settings)) == undisturbed(folder)


def test_float32_features_are_kept_as_they_are(photos: Photos, start, encoder: Encoder) -> None:
    folder = photos("shoes", 2)
    store = start(folder).run(Settings(1, 0, dtype="float32"))
    pixels, _ = encoder.prepare(folder / store.ids[1])
    np.testing.assert_array_equal(store.load()[1], encoder(torch.from_numpy(pixels[None].copy()))[0].numpy())


@pytest.mark.parametrize("parts", [(0, 1), slow((0, 1, 1, 1, 1))])
def test_a_killed_and_resumed_extraction_gives_the_same_bits_as_an_undisturbed_one(
    photos: Photos, start, undisturbed, parts: tuple[int, ...]
) -> None:
    folder = photos("shoes", 41)
    started = time.monotonic()
    expected = undisturbed(folder)
    whole = time.monotonic() - started
    extraction, instants, kept = start(folder), random.Random(2), [0]
    for more in parts:
        pid = extraction.run_in_another_process()
        while len(extraction.parts()) < kept[-1] + more and not extraction.store.exists():
            time.sleep(0.001)
        time.sleep(instants.uniform(0, whole / 10))
        assert kill(pid) in (0, -signal.SIGKILL)
        kept.append(len(extraction.parts()))
    assert kept == sorted(kept) or extraction.store.exists()
    assert content(extraction.run()) == expected
    assert extraction.parts() == []


@pytest.mark.slow
def test_a_start_right_after_a_kill_is_not_refused_because_of_orphaned_workers(photos: Photos, start) -> None:
    extraction = start(photos("shoes", 41))
    pid = extraction.run_in_another_process(Settings(batch=1, workers=2, part=1))
    while not extraction.parts():
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it ended by itself"
        time.sleep(0.005)
    assert kill(pid) == -signal.SIGKILL
    assert len(extraction.run().ids) == 41


class Interrupting:
    """The encoder, with a real Ctrl-C in some batch."""

    def __init__(self, encoder: Encoder, at: int) -> None:
        self.encoder, self.at, self.calls = encoder, at, 0
        self.dim, self.precision, self.prepare = encoder.dim, encoder.precision, encoder.prepare

    def __call__(self, batch: torch.Tensor, /) -> torch.Tensor:
        self.calls += 1
        if self.calls == self.at:
            signal.raise_signal(signal.SIGINT)
        return self.encoder(batch)


@pytest.mark.parametrize("workers", [slow(0), 1])
def test_an_interrupt_writes_the_part_in_hand_and_the_same_call_goes_on(
    photos: Photos, start, undisturbed, encoder: Encoder, workers: int
) -> None:
    folder = photos("shoes", 13)
    extraction, settings = start(folder), Settings(batch=2, workers=workers, part=1000)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        extraction.run(settings, Interrupting(encoder, at=3))
    assert signal.getsignal(signal.SIGINT) is handler
    (part,) = extraction.parts()
    assert len(FeatureStore(part)) == 6
    rest = Interrupting(encoder, at=-1)
    assert content(extraction.run(settings, rest)) == undisturbed(folder)
    assert rest.calls == 4


def test_images_that_cannot_be_decoded_are_recorded_with_the_reason_and_skipped(photos: Photos, start) -> None:
    folder = photos("shoes", 12)
    reasons = break_images(folder)
    store = start(folder).run(Settings(batch=5, workers=1, max_failures=0.3))
    assert store.ids == [image for image in image_folder(folder).images("shoes") if image not in reasons]
    assert [failure.id for failure in store.failed] == sorted(reasons)
    for failure in store.failed:
        assert reasons[failure.id] in failure.reason


def test_one_image_may_always_fail(photos: Photos, start) -> None:
    folder = photos("shoes", 3)
    (folder / "class 0/00.png").write_bytes(b"")
    assert len(start(folder).run().failed) == 1


def test_a_batch_without_a_single_image_goes_through(photos: Photos, start) -> None:
    folder = photos("shoes", 5)
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    store = start(folder).run(Settings(batch=2, workers=0, max_failures=1.0))
    assert (len(store), len(store.failed)) == (0, 5)


def test_too_many_failures_stop_the_run_and_keep_the_work(photos: Photos, start) -> None:
    folder = photos("shoes", 12)
    break_images(folder)
    extraction = start(folder)
    said = r"2 images of shoes could not be decoded, more than the 1 allowed; the first is class 0/00\.png \(.*--max-f"
    with pytest.raises(ProbeError, match=said):
        extraction.run(Settings(batch=1, workers=0))
    kept = sum(len(FeatureStore(part)) for part in extraction.parts())
    assert kept == 3
    assert len(extraction.run(Settings(batch=1, workers=0, max_failures=0.5))) == 9


def test_failed_images_are_tried_again_only_when_asked(photos: Photos, start) -> None:
    folder = photos("shoes", 12)
    extraction, image = start(folder), folder / "class 2/06.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:50])
    assert len(extraction.run().failed) == 1
    image.write_bytes(whole)
    assert extraction.task().todo == []
    store = extraction.run(Settings(batch=2, workers=0, retry_failed=True))
    assert (len(store), store.failed) == (12, [])


def test_images_that_fail_again_are_counted_once(photos: Photos, start) -> None:
    folder = photos("shoes", 12)
    break_images(folder)
    extraction = start(folder)
    for retry in (False, True):
        store = extraction.run(Settings(batch=2, workers=0, max_failures=0.25, retry_failed=retry))
        assert (len(store), len(store.failed)) == (9, 3)


def test_parts_that_hold_everything_are_merged_without_the_backbone(
    photos: Photos, start, undisturbed, encoder: Encoder
) -> None:
    folder = photos("shoes", 6)
    extraction = start(folder)
    with pytest.raises(KeyboardInterrupt):
        extraction.run(FAST, Interrupting(encoder, at=3))
    assert not extraction.task().store.exists()
    rest = Interrupting(encoder, at=-1)
    assert content(extraction.run(FAST, rest)) == undisturbed(folder)
    assert rest.calls == 0


def test_more_images_of_a_source_are_added_to_its_store(photos: Photos, start) -> None:
    first = content(start(photos("shoes", 5)).run())
    store = start(photos("shoes", 9)).run()
    assert store.ids[:5] == first[0]
    assert store.load(store.ids[:5]).tobytes() == first[1]
    assert sorted(store.ids) == image_folder(photos("shoes", 9)).images("shoes")


def test_rows_of_other_package_versions_are_not_added_to_a_store(photos: Photos, start, encoder: Encoder) -> None:
    extraction = start(photos("shoes", 4))
    extraction.run()
    photos("shoes", 6)
    extraction.manifest = image_folder(extraction.manifest.roots["shoes"])
    spec = extraction.backbone.spec()
    with pytest.raises(SpecMismatchError, match=r'packages\.timm: .*, not "0\.1"'):
        extract(extraction.task(), encoder, spec | {"packages": spec["packages"] | {"timm": "0.1"}}, FAST)


def session(extraction: Extraction, settings: Settings = FAST) -> None:
    extract_sources([extraction.manifest], extraction.backbone, extraction.workspace, settings, "cpu")


def test_several_sources_are_extracted_in_one_go_and_nothing_to_do_loads_no_model(
    photos: Photos, start, backbone: Backbone, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifests = [image_folder(photos(name, count, seed=count)) for name, count in (("shoes", 5), ("pets", 3))]
    frame = pl.concat([manifest.frame for manifest in manifests])
    weights = tmp_path / "copy.safetensors"
    assert backbone.weights is not None
    weights.write_bytes(backbone.weights.read_bytes())
    extraction = start(tmp_path / "shoes")
    extraction.manifest = Manifest(frame, manifests[0].roots | manifests[1].roots)
    extraction.backbone = Backbone("tiny", backbone.row, backbone.catalogue, weights)
    session(extraction)
    said = capsys.readouterr().err
    for source, count in (("shoes", 5), ("pets", 3)):
        path = extraction.workspace.store(source, "tiny")
        assert len(FeatureStore(path)) == count
        assert f"{source}: {count} images in {path}" in said
    weights.unlink()  # their digest is known; loading them would fail
    session(extraction)
    assert "shoes: all 5 images are in " in capsys.readouterr().err


def test_the_report_counts_what_is_in_the_store(photos: Photos, start, capsys: pytest.CaptureFixture[str]) -> None:
    folder = photos("shoes", 12)
    extraction, image = start(folder), folder / "class 2/06.png"
    whole = image.read_bytes()
    image.write_bytes(b"")
    session(extraction)
    said = capsys.readouterr().err
    assert "shoes: 11 images in " in said
    assert "1 could not be decoded" in said
    assert "could not decode class 2/06.png: UnidentifiedImageError: " in said
    image.write_bytes(whole)
    session(extraction, Settings(batch=2, workers=0, retry_failed=True))
    assert "shoes: 12 images in " in capsys.readouterr().err


def test_a_source_is_named_as_it_is_whatever_its_brackets(
    photos: Photos, start, capsys: pytest.CaptureFixture[str]
) -> None:
    session(start(photos("shoes [old]", 3)))
    assert "shoes [old]: 3 images in " in capsys.readouterr().err


def test_an_image_that_is_gone_for_a_moment_is_tried_again_and_stored(
    start: Callable[[Path], Extraction], photos: Photos, undisturbed: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos("shoes", 8)
    expected, tries = undisturbed(folder), Counter[str]()

    def read(root: Path, image: str) -> bytes:
        tries[image] += 1
        if tries[image] == 1 and image.endswith("5.png"):
            raise OSError(errno.EIO, "Input/output error")
        return read_image(root, image)

    monkeypatch.setattr(loading, "read_image", read)
    assert content(start(folder).run()) == expected
    assert tries["class 1/05.png"] == 2


@pytest.mark.parametrize("problem", quick(["too many open files", "gone", "a folder", "no memory"]))
def test_what_the_system_says_of_an_image_is_not_recorded_and_the_next_extraction_stores_it(
    problem: str,
    start: Callable[[Path], Extraction],
    photos: Photos,
    undisturbed: Callable,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    folder = photos("shoes", 8)
    expected, extraction, image = undisturbed(folder), start(folder), folder / "class 1/05.png"
    task, spec = extraction.task(), extraction.backbone.spec(FAST.stored_as)
    with monkeypatch.context() as patch:
        patch.setattr(loading, "PAUSES", (0.0,))
        if problem in ("gone", "a folder"):
            image.rename(tmp_path / "05.png")
        if problem == "a folder":
            image.mkdir()
        if problem in ("too many open files", "no memory"):

            def fail(root: Path, name: str) -> bytes:
                if name.endswith("05.png"):
                    raise OSError(errno.EMFILE, "Too many open files") if "open" in problem else MemoryError
                return read_image(root, name)

            patch.setattr(loading, "read_image", fail)
        found = extract(task, extraction.encoder, spec, FAST)
    assert [unread.id for unread in found.unread] == ["class 1/05.png"]
    assert (found.failures, FeatureStore(task.store).failed, len(FeatureStore(task.store))) == ([], [], 7)
    if problem == "gone":
        assert "No such file" in found.unread[0].reason
    if problem == "a folder":
        image.rmdir()
    if problem in ("gone", "a folder"):
        (tmp_path / "05.png").rename(image)
    store = extraction.run()
    assert store.load(expected[0]).tobytes() == expected[1]


def test_too_many_images_that_cannot_be_read_stop_the_run_and_the_work_is_kept(
    start: Callable[[Path], Extraction], photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "PAUSES", ())
    folder = photos("shoes", 12)
    extraction = start(folder)
    task, store = extraction.task(), extraction.store
    for name in ("2/06", "2/10", "3/07"):
        (folder / f"class {name}.png").unlink()
    with pytest.raises(ProbeError, match=r"images of shoes could not be read, more than the 1 allowed; the first is"):
        extract(task, extraction.encoder, extraction.backbone.spec(FAST.stored_as), FAST)
    with StoreWriter.resume(store) as writer:
        assert writer.done
        assert not writer.failed


def test_the_command_ends_with_an_error_that_names_an_image_that_could_not_be_read(
    start: Callable[[Path], Extraction], photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    extraction = start(photos("shoes", 8))

    def read(root: Path, name: str) -> bytes:
        if name.endswith("05.png"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return read_image(root, name)

    monkeypatch.setattr(loading, "read_image", read)
    monkeypatch.setattr(loading, "PAUSES", ())
    said = r"1 image\(s\) could not be read.*class 1/05.png \(PermissionError.*same command"
    with pytest.raises(ProbeError, match=said):
        extract_sources([extraction.manifest], extraction.backbone, extraction.workspace, FAST, "cpu")
    assert len(FeatureStore(extraction.store)) == 7


def test_a_decoding_process_that_is_killed_is_one_sentence_and_the_run_goes_on_from_there(
    start: Callable[[Path], Extraction], photos: Photos, undisturbed: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos("shoes", 12)
    expected, extraction = undisturbed(folder), start(folder)
    main = os.getpid()

    def read(root: Path, name: str) -> bytes:
        if name.endswith("10.png") and os.getpid() != main:
            os.kill(os.getpid(), signal.SIGKILL)
        return read_image(root, name)

    monkeypatch.setattr(loading, "read_image", read)
    with pytest.raises(ProbeError, match=r"a decoding process ended .*Use fewer --workers") as error:
        extraction.run(replace(FAST, workers=1))
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    assert content(extraction.run()) == expected


@pytest.mark.slow
def test_batches_for_which_there_is_no_shared_memory_arrive_all_the_same(
    start: Callable[[Path], Extraction], photos: Photos, undisturbed: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos("shoes", 12)
    expected, extraction = undisturbed(folder), start(folder)

    def refuse(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", refuse)  # workers are forked from here
    assert content(extraction.run(replace(FAST, workers=2))) == expected


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")  # as PyTorch's, of half a loader
def test_without_the_locks_of_shared_memory_the_sentence_says_what_helps(
    photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", refuse)  # where there is no /dev/shm
    folder = photos("shoes", 4)
    images = image_folder(folder).frame["image"].to_list()
    batches = loading.decoded_batches(images, folder, lambda file: (np.zeros(1, np.uint8), (1, 1)), batch=1, workers=1)
    with pytest.raises(ProbeError, match=r"no decoding process can be started .*with --workers 0"), batches:
        pass


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="only root may mount a small /dev/shm")
def test_a_real_small_shared_memory_neither_hangs_nor_loses_an_image(photos: Photos) -> None:
    folder = photos("shoes", 24)
    code = f"""
import numpy as np
from pathlib import Path
from probe.data import decoded_batches, image_folder
images = image_folder(Path({str(folder)!r})).frame["image"].to_list()
prepare = lambda file: (np.full((4 << 20,), file.read(1)[0], np.uint8), (1, 1))
with decoded_batches(images, Path({str(folder)!r}), prepare, batch=4, workers=2) as batches:
    print(sum(len(batch.ids) for batch in batches if batch.prepared is not None and batch.prepared.shape[1] == 4 << 20))
"""
    script = f'mount -t tmpfs -o size=24m tmpfs /dev/shm && exec {sys.executable} -c "$CODE"'
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", script],
        env=os.environ | {"CODE": code},
        capture_output=True,
        text=True,
        timeout=200,
    )
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("this machine lets nobody mount")
    assert done.stdout == "24\n", done.stderr


@pytest.mark.slow
def test_a_limit_of_open_files_is_raised_or_refused_before_anything_hangs(photos: Photos) -> None:
    folder = photos("shoes", 4)
    code = f"""
import resource, sys
from pathlib import Path
from io import BytesIO
import numpy as np
from probe.data import decoded_batches, image_folder
from probe.errors import UsageError
resource.setrlimit(resource.RLIMIT_NOFILE, (40, int(sys.argv[1])))
images = image_folder(Path({str(folder)!r})).frame["image"].to_list()
prepare = lambda file: (np.frombuffer(file.read(1), np.uint8), (1, 1))
try:
    with decoded_batches(images, Path({str(folder)!r}), prepare, batch=1, workers=1) as batches:
        print(sum(len(batch.ids) for batch in batches))
except UsageError as error:
    print(error)
"""
    said = [
        subprocess.run([sys.executable, "-c", code, most], capture_output=True, text=True, timeout=120).stdout
        for most in ("4096", "41")
    ]
    assert said[0] == "4\n"
    assert "may open 41 files, and decoding in 1 process(es) takes up to" in said[1]
