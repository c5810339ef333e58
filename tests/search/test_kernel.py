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


@pytest.mark.parametrize(("queries", "groups", "panels", "dim"), [(1, 1, 1, 1), (5, 3, 1, 7), (13, 7, 2, 65)])
def test_maxima_are_those_of_plain_products_and_the_same_bits_by_any_number_of_threads(
    kernel: Kernel, queries: int, groups: int, panels: int, dim: int
) -> None:
    draw = torch.Generator().manual_seed(queries)
    group = panels * kernel.panel
    rows, asked = (torch.randn(count, dim, generator=draw) for count in (groups * group, queries))
    plain = (asked.double() @ rows.double().T).view(queries, groups, group).amax(2)
    packed = kernel.pack(rows)
    found = [torch.full((queries, groups), torch.nan) for _ in range(3)]
    for threads, out in enumerate(found, 1):
        kernel.maxima(packed, asked, group, threads, out)
        torch.testing.assert_close(out.double(), plain, rtol=1e-5, atol=1e-5)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_it_is_compiled_once_and_without_a_compiler_there_is_none(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    anew = load.__wrapped__
    assert anew() is not None
    [file] = (tmp_path / "probe").iterdir()
    made = file.stat().st_mtime_ns
    assert anew() is not None
    assert file.stat().st_mtime_ns == made
    (tmp_path / "other" / "probe").mkdir(parents=True)
    (tmp_path / "other" / "probe" / file.name).write_bytes(b"no library")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert anew() is None
    monkeypatch.setattr(compiled, "COMPILERS", ("no-such-compiler",))
    assert anew() is None


def test_what_the_compiler_refuses_is_made_by_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiled, "SOURCE", "no C++")
    assert load.__wrapped__() is None
    assert not list((tmp_path / "probe").iterdir())
