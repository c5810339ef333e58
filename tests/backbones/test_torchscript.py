import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from probe.backbones.checkpoint import read_state
from probe.errors import ProbeError

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:FutureWarning")


class Tower(torch.nn.Module):
    """The names of a CLIP's image tower, and what else a module may hold."""

    def __init__(self) -> None:
        super().__init__()
        self.class_embedding = torch.nn.Parameter(torch.randn(4))
        self.conv1 = torch.nn.Conv2d(3, 4, 2, bias=False)
        self.resblocks = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
        self.register_buffer("empty", torch.zeros(0))
        self.names, self.sizes, self.scales, self.counts = ["a"], [1, 2], [0.5], {"a": 1}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.resblocks(self.conv1(images).mean((2, 3)) + self.class_embedding)


class Clip(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual = Tower()
        self.transposed = torch.nn.Parameter(torch.randn(3, 5).t())
        self.register_buffer("input_resolution", torch.tensor(8))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.visual(images) + self.transposed.sum()


@pytest.fixture
def clip() -> Clip:
    torch.manual_seed(0)
    return Clip().eval()


def scripted(model: torch.nn.Module, path: Path) -> Path:
    torch.jit.save(torch.jit.script(model), path)
    return path


def traced(model: torch.nn.Module, path: Path) -> Path:
    dtype = next(model.parameters()).dtype
    torch.jit.save(torch.jit.trace(model, torch.zeros(1, 3, 8, 8, dtype=dtype)), path)
    return path


def rewritten(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path) as archive:
        parts = {name: change(name, archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("save", [scripted, traced])
def test_an_archives_tensors_are_those_of_its_state_dict(
    tmp_path: Path, clip: Clip, save: Callable[[torch.nn.Module, Path], Path], dtype: torch.dtype
) -> None:
    path = save(clip.to(dtype), tmp_path / "clip.pt")
    expected = torch.jit.load(path).state_dict()
    assert {"visual.conv1.weight", "visual.resblocks.1.running_var", "input_resolution"} < expected.keys()
    state = read_state(path)
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=0)
    assert read_state(path, "visual.").keys() == clip.visual.state_dict().keys()


class Writes(torch.nn.Module):
    """A module whose code, run by `torch.jit.load`, writes a file."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.weight, self.target = torch.nn.Parameter(torch.zeros(3)), target

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, str, bool]:
        return self.weight, self.target, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, str, bool]) -> None:
        self.weight, self.target, self.training = state
        torch.save(self.weight, self.target)


def test_the_code_of_an_archive_is_not_run(tmp_path: Path) -> None:
    target = tmp_path / "written"
    path = scripted(Writes(str(target)), tmp_path / "writes.pt")
    with pytest.raises(ProbeError, match=r"writes\.pt is a TorchScript archive that cannot be read without running it"):
        read_state(path)
    assert not target.exists()
    torch.jit.load(path)
    assert target.exists()


class Touches:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable, tuple]:
        return Path.touch, (self.target,)


def test_a_name_in_an_archive_that_is_no_module_or_tensor_is_refused(tmp_path: Path, clip: Clip) -> None:
    target = tmp_path / "touched"
    hostile = pickle.dumps(Touches(target), protocol=2)
    path = rewritten(
        scripted(clip, tmp_path / "clip.pt"), lambda name, content: hostile if name.endswith("data.pkl") else content
    )
    said = (
        r"clip\.pt is a TorchScript .* it holds a \w+\.getattr; where you trust it, .*\.state_dict\(\), 'weights\.pt'\)"
    )
    with pytest.raises(ProbeError, match=said):
        read_state(path)
    assert not target.exists()
    pickle.loads(hostile)
    assert target.exists()


def test_an_archive_that_is_larger_inside_than_outside_is_refused(tmp_path: Path, clip: Clip) -> None:
    path = rewritten(
        scripted(clip, tmp_path / "clip.pt"),
        lambda name, content: bytes(10_000_000) if name.endswith("data/0") else content,
        zipfile.ZIP_DEFLATED,
    )
    with pytest.raises(ProbeError, match="its parts are larger than the file"):
        read_state(path)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path, clip: Clip) -> None:
    path = rewritten(
        scripted(clip, tmp_path / "clip.pt"),
        lambda name, content: content[:4] if "/data/" in name else content,
    )
    with pytest.raises(ProbeError, match="out of bounds"):
        read_state(path)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_an_archive_that_is_cut_off_is_refused_in_a_sentence(tmp_path: Path, clip: Clip, share: float) -> None:
    path = scripted(clip, tmp_path / "clip.pt")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ProbeError, match=r"clip\.pt .*cannot be read .*\.$"):
        read_state(path)


@pytest.mark.parametrize(("mark", "at", "to"), [(b"PK\x01\x02", 3, 3), (b"PK\x06\x07", 16, 2)])
def test_an_archive_whose_list_of_files_is_damaged_is_refused_in_a_sentence(
    tmp_path: Path, mark: bytes, at: int, to: int
) -> None:
    """The mark of an entry; the number of disks that the archive is on."""
    path = tmp_path / "weights.pt"
    torch.save({"weight": torch.ones(3)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(mark) + at] = to
    path.write_bytes(content)
    with pytest.raises(ProbeError, match=r"weights\.pt is a damaged archive"):
        read_state(path)
