"""A backbone family of the user's own, by `library: mymodule:MyAdapter`, with the adapter of docs/backbones.md."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from probe import source
from probe.backbones.catalogue import BackboneRow, find_backbone
from probe.backbones.encoder import load_encoder
from probe.errors import UsageError
from probe.extract.match import feature_differences
from probe.validation import parse_yaml

PAGE = Path(__file__).resolve().parents[2] / "docs" / "backbones.md"
ROW = "{library: my_backbones:Thumbnails, model: thumbnails, px: 32, weights: matrix.safetensors}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With the page's adapter, a catalogue that names it, and its weights."""
    found = re.search(r"```python\n(# my_backbones.py\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    (tmp_path / "my_backbones.py").write_text(found[1])
    (tmp_path / "own.yaml").write_text(f"backbones:\n  thumbnails: {ROW}\n")
    save_file({"matrix": torch.eye(192)[:5].contiguous()}, tmp_path / "matrix.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_backbones", raising=False)
    return tmp_path


def test_its_features_are_what_its_module_gives(folder: Path) -> None:
    backbone = find_backbone("thumbnails", Path("own.yaml"), Path("matrix.safetensors"))
    encoder = load_encoder(backbone, torch.device("cpu"))
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = (pixels.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    means = images.unfold(2, 4, 4).unfold(3, 4, 4).mean((4, 5)).flatten(1)[:, :5]
    torch.testing.assert_close(encoder(pixels), means)
    assert encoder.dim == 5


def forget_sources() -> None:
    for cached in (
        source.source_digest,
        source.plain_source,
        source._needed,
        source._passed_on,
        source._file,
        source._code,
    ):
        cached.cache_clear()


def spec_after(folder: Path, addition: str) -> dict[str, Any]:
    """As another process would find it."""
    with (folder / "my_backbones.py").open("a") as file:
        file.write(addition)
    forget_sources()
    return find_backbone("thumbnails", Path("own.yaml"), Path("matrix.safetensors")).spec()


def test_another_version_of_the_adapter_is_another_backbone_and_a_comment_is_none(folder: Path) -> None:
    first, commented = spec_after(folder, ""), spec_after(folder, "\n# said in passing\n")
    assert first == commented
    second = spec_after(folder, "\nCHANGED = True\n")
    assert first != second
    assert first["backbone"].pop("code") != second["backbone"].pop("code")
    assert first == second


def test_another_version_of_a_file_beside_the_adapter_that_it_imports_is_another_backbone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = spec_after(folder, "")["backbone"]["code"]
    assert re.fullmatch("[0-9a-f]{64}", alone)
    monkeypatch.delitem(sys.modules, "my_parts", raising=False)
    (folder / "my_parts.py").write_text("SHIFT = 0\n")
    (folder / "unused.py").write_text("SHIFT = 0\n")
    monkeypatch.delitem(sys.modules, "my_backbones")
    first = spec_after(folder, "\nfrom my_parts import SHIFT\n")
    assert first["backbone"]["code"].keys() == {"my_backbones.py", "my_parts.py"}
    (folder / "my_parts.py").write_text("SHIFT = 1\n")
    forget_sources()
    second = spec_after(folder, "")
    assert first["backbone"]["code"]["my_backbones.py"] == second["backbone"]["code"]["my_backbones.py"]
    assert [line.partition(":")[0] for line in feature_differences(first, second)] == ["backbone.code.my_parts.py"]


@pytest.mark.parametrize(
    ("library", "says"),
    [
        ("my_backbones:Thumbnail", "library 'my_backbones:Thumbnail' cannot be loaded .*no attribute"),
        ("no_such_module:Thumbnails", "cannot be loaded .*No module named 'no_such_module'"),
        ("pathlib:Path", r"library 'pathlib:Path' has no `build\(row, weights\)`"),
    ],
)
def test_what_is_no_adapter_is_refused(folder: Path, library: str, says: str) -> None:
    (folder / "own.yaml").write_text(f"backbones:\n  thumbnails: {ROW.replace('my_backbones:Thumbnails', library)}\n")
    backbone = find_backbone("thumbnails", Path("own.yaml"), Path("matrix.safetensors"))
    with pytest.raises(UsageError, match=says):
        load_encoder(backbone, torch.device("cpu"))


def test_an_unknown_library_is_named_with_the_nearest() -> None:
    fields = parse_yaml("{library: tim, model: x, px: 32}")
    with pytest.raises(ValueError, match=r"there is no library 'tim'; did you mean 'timm'\?"):
        BackboneRow.model_validate(fields)
