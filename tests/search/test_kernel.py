"""The compiled kernel of the search: its maxima are those of plain products, and where there is none all goes on."""

from pathlib import Path

import pytest
import torch

from probe.search import kernel as compiled
from probe.search.kernel import Kernel, load


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    found = load()
    if found is None:
        pytest.skip("there is no C++ compiler")
    return found


@pytest.mark.parametrize("few", [0, 100])
@pytest.mark.parametrize(("queries", "groups", "panels", "dim"), [(1, 1, 1, 1), (5, 3, 1, 7), (13, 7, 2, 65)])
def test_maxima_are_those_of_plain_products_and_the_same_bits_by_any_number_of_threads(
    kernel: Kernel, queries: int, groups: int, panels: int, dim: int, few: int
) -> None:
    draw = torch.Generator().manual_seed(queries)
    group = panels * kernel.panel
    rows, asked = (torch.randn(count, dim, generator=draw) for count in (groups * group, queries))
    plain = (asked.double() @ rows.double().T).view(queries, groups, group).amax(2)
    found = [torch.full((queries, groups), torch.nan) for _ in range(3)]
    for threads, out in enumerate(found, 1):
        kernel.maxima(rows, asked, group, threads, out, few)
        torch.testing.assert_close(out.double(), plain, rtol=1e-5, atol=1e-5)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.fixture
def anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and nothing known of it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for known in (compiled._library, compiled._compiled, compiled._opened):
        monkeypatch.setattr(compiled, known.__name__, known.__wrapped__)
    return tmp_path / "probe"


@pytest.mark.usefixtures("kernel")
def test_it_is_compiled_once_where_it_is_worth_it(anew: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(compiling=False) is None
    assert not anew.exists()
    assert load() is not None
    [file] = anew.iterdir()
    made = file.stat().st_mtime_ns
    assert load(compiling=False) is not None
    assert load() is not None
    assert file.stat().st_mtime_ns == made
    (tmp_path / "other" / "probe").mkdir(parents=True)
    (tmp_path / "other" / "probe" / file.name).write_bytes(b"no library")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert load() is None


def test_without_a_compiler_there_is_none(anew: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "COMPILERS", ("no-such-compiler",))
    assert load() is None
    assert not anew.exists()


def test_what_the_compiler_refuses_is_made_by_pytorch(anew: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "SOURCE", "no C++")
    assert load() is None
    assert not list(anew.iterdir())
