import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from probe.backbones.catalogue import all_backbones, bundled_rows, find_backbone
from probe.backbones.listing import print_backbone, print_catalogue

ROOT = Path(__file__).resolve().parents[2]
OWN = {"library": "timm", "model": "test_vit.r160_in1k", "px": 32, "family": "my own", "weights": "mine.pt"}


def listed(catalogue: Path | None = None) -> dict[str, str]:
    """Name -> the rest of its line, with single spaces."""
    console = Console(width=200, record=True, file=io.StringIO())
    print_catalogue(all_backbones(catalogue), console)
    lines = [" ".join(line.split()).partition(" ") for line in console.export_text().splitlines()]
    return {name: rest for name, _, rest in lines if rest[:1].isdigit() and " " in rest}


def told(name: str) -> dict[str, str]:
    console = Console(width=80, record=True, file=io.StringIO())
    print_backbone(find_backbone(name), console)
    return {line[:14].strip(): line[14:] for line in console.export_text().splitlines()}


def test_the_table_has_every_backbone_with_its_size_dimension_parameters_and_papers() -> None:
    lines = listed()
    assert set(lines) == set(bundled_rows())
    assert lines["siglip-so400m-14-384"] == "384 1152 428.2 M pooled UniFEx 3, 4, 5, 6 fetch"
    assert lines["descriptor"] == "128 1216 none"
    assert lines["multigrain-resnet50"].endswith(" UnED 4 file")


def test_the_table_tells_which_weights_are_in_the_local_cache(hub: Callable[[str], Path]) -> None:
    (hub("timm/resnet50.a1_in1k") / "model.safetensors").write_bytes(b"here")
    lines = listed()
    assert lines["resnet50-a1"].endswith(" cached")
    assert lines["resnet50-tv"].endswith(" fetch")


def test_the_users_rows_come_first_and_replace_bundled_ones(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(json.dumps({"backbones": {"mine": OWN, "resnet50-a1": OWN}}))
    assert [backbone.name for backbone in all_backbones(path)][:2] == ["mine", "resnet50-a1"]
    assert listed(path)["resnet50-a1"].startswith("32 ")


def test_one_backbone_is_told_with_its_resolved_preprocessing_repository_and_file(hub: Callable[[str], Path]) -> None:
    lines = told("eva-clip-vit-b16")
    assert lines["input"] == "shorter side to 248, centre crop of 224 x 224, bicubic"
    assert lines["parameters"] == "85,869,312"
    assert lines["feature"] == "pre-projection"
    assert lines["repository"] == "timm/eva02_base_patch16_clip_224.merged2b"
    assert "hf download timm/eva02_base_patch16_clip_224.merged2b model.safetensors" in lines["weights"]
    (hub("timm/eva02_base_patch16_clip_224.merged2b") / "model.safetensors").write_bytes(b"here")
    assert "snapshots" in told("eva-clip-vit-b16")["weights"]
    assert told("clipa-vit-h14-336")["input"] == "squash to 336 x 336, bilinear"


@pytest.mark.parametrize("arguments", [[], ["siglip-so400m-14-384"]], ids=["all", "one"])
def test_the_command_loads_no_deep_learning_library(arguments: list[str]) -> None:
    code = (
        "import sys; from probe.cli import app\n"
        f"app({['backbones', *arguments]!r}, standalone_mode=False)\n"
        "assert not {'torch', 'timm', 'open_clip', 'transformers', 'torchvision'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "siglip-so400m-14-384" in done.stdout


def test_of_imported_features_nothing_is_told_that_nobody_knows() -> None:
    assert set(told("foreign:mine")) == {"name", "about"}
