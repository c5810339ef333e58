"""A backbone family of the user's own, by `library: mymodule:MyAdapter`, with the adapter of docs/backbones.md."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from probe.backbones.catalogue import BackboneRow, find_backbone
from probe.backbones.encoder import load_encoder
from probe.errors import UsageError
from probe.source import plain_source, source_digest
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


def spec_after(folder: Path, addition: str) -> dict[str, Any]:
    """As another process would find it."""
    with (folder / "my_backbones.py").open("a") as file:
        file.write(addition)
    source_digest.cache_clear()
    plain_source.cache_clear()
    return find_backbone("thumbnails", Path("own.yaml"), Path("matrix.safetensors")).spec()


def test_another_version_of_the_adapter_is_another_backbone_and_a_comment_is_none(folder: Path) -> None:
    first, commented = spec_after(folder, ""), spec_after(folder, "\n# said in passing\n")
    assert first == commented
    second = spec_after(folder, "\nCHANGED = True\n")
    assert first != second
    assert first["backbone"].pop("code") != second["backbone"].pop("code")
    assert first == second


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
