"""Nothing here may reach a hub: the tests run as they would on a machine without a network.

Hypothesis draws the same examples each time and never looks at the clock, so that a busy machine changes no result;
HYPOTHESIS_PROFILE=explore draws others.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    import torch

    from probe.data.sample import SampleClass
    from probe.extract.features import CachedFeatures

os.environ["HF_HUB_OFFLINE"] = "1"

MANY = os.environ.get("EXAMPLES") == "many"  # make test-all
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", settings.get_profile("explore"), derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def examples(few: int, many: int) -> settings:
    """How many a property is tried on: few in `make test`, many in `make test-all`."""
    return settings(max_examples=many if MANY else few)


def slow(*values: Any, id: str | None = None) -> Any:
    """A case of a parametrised test that is left to `make test-all`."""
    return pytest.param(*values, id=id, marks=pytest.mark.slow)


def quick(values: Iterable[Any], count: int = 1) -> list[Any]:
    """The first `count` of a test's parameters; the others are left to `make test-all`."""
    values = list(values)
    return [*values[:count], *(slow(*each) if isinstance(each, tuple) else slow(each) for each in values[count:])]


SHARED = Path(__file__).resolve().parents[2] / "shared"
Shared = Callable[[str], Path]


@pytest.fixture(scope="session")
def shared() -> Shared:
    """`shared("reference/encoders.csv")`: what is there of ../shared; without it the test is skipped."""

    def find(name: str) -> Path:
        if not (SHARED / name).exists():
            pytest.skip(f"../shared/{name} is not on this machine")
        return SHARED / name

    return find


@pytest.fixture(scope="session")
def cuda() -> "torch.device":
    """The GPU that a test marked `cuda` holds against the CPU; without one the test is skipped. `CUDA_TESTS_ON=cpu`
    rehearses these tests: it runs their own code on the CPU."""
    import torch

    device = torch.device(os.environ.get("CUDA_TESTS_ON", "cuda"))
    if device.type == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    return device


@pytest.fixture
def never_waiting(cuda: "torch.device") -> "Callable[[], AbstractContextManager[None]]":
    """`with never_waiting():` no operation in it may wait for the GPU."""
    import torch

    @contextmanager
    def refusing() -> Iterator[None]:
        if cuda.type != "cuda":
            yield
            return
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    return refusing


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """Nobody pulls the plug here: what is written is not waited for. Commands in processes of their own do wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


class ByFixture(LoadFileScheduling):
    """A worker of pytest's takes the tests of a file, and those of the two files that need the finished quickstart."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "quickstart" if file.endswith(("integration/test_quickstart.py", "integration/test_fit.py")) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFixture:
    return ByFixture(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files with the longest tests come first, so that no worker is left alone with them at the end."""
    items.sort(key=lambda item: not {"integration", "export", "faults"} & set(item.path.parts))


Common = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Common:
    """`common("sample", build)`: a folder that `build` makes, once for all of pytest's workers; only to be read."""
    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent

    def find(name: str, build: Callable[[Path], object]) -> Path:
        folder = base / name
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                build(folder)
        return folder

    return find


@pytest.fixture(scope="session")
def small_classes() -> "list[SampleClass]":
    """The classes of the sample, four images of each."""
    from probe.data.sample import plan

    return [replace(each, images=4) for each in plan()]


@pytest.fixture(scope="session")
def small_sample(common: Common, small_classes: "list[SampleClass]") -> Path:
    """A data root with the sample in small."""
    from probe.data import sample

    def build(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sample, "plan", lambda: small_classes)
            sample.ensure_sample(folder)

    return common("small_sample", build)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many threads here as in forked processes, for the same bits (and OpenMP's do not survive a fork)."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def cached(tmp_path_factory: pytest.TempPathFactory) -> "CachedFeatures":
    """The features of the small world of tests/fit/world.py; only to be read."""
    from tests.fit.world import World, features_of, small_manifest

    world = World(tmp_path_factory.mktemp("world"), small_manifest())
    world.store(features_of(world.frame))
    return world.cached()
