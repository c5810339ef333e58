"""The catalogue's rows against the papers' checked list of encoders and against the installed libraries."""

import csv
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import lazy_loader
import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from probe.backbones.catalogue import BackboneRow, adapter, bundled_rows
from probe.backbones.open_clip import split_hub_name
from tests.conftest import slow

open_clip: Any = lazy_loader.load("open_clip")  # takes five seconds, in each of pytest's processes
ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = bundled_rows()
ROWS = {name: row for name, row in CATALOGUE.items() if row.library != "built-in"}
LIBRARIES = {row.library for row in ROWS.values()}
QUICK = {  # the smallest of each library; the others are for the long tests
    min((name for name in ROWS if ROWS[name].library == library), key=lambda name: ROWS[name].params or math.inf)
    for library in LIBRARIES
}

with (ROOT / "recipes" / "reference" / "encoders.csv").open() as file:
    PRINTED = list(csv.DictReader(file))
ENCODERS = [line for line in PRINTED if line["library"] != "none"]
NAMES = [f"{line['method']} {line['printed_name']}" for line in ENCODERS]


def rows_of(line: dict[str, str]) -> dict[str, BackboneRow]:
    """The catalogue's rows of a line: same library, model and size; the projected one where the line says so."""
    model = f"{line['model']}/{line['pretrained_tag']}" if line["library"] == "open_clip" else line["model"]
    projected = "WITH visual.proj" in line["notes"]
    return {
        name: row
        for name, row in ROWS.items()
        if (row.library, row.model, row.px) == (line["library"], model, int(line["input_px"]))
        and (row.feature == "projected") == projected
    }


def built(row: BackboneRow) -> torch.nn.Module:
    """Made without weights and without memory for them."""
    with torch.device("meta"):
        return adapter(row.library).build(row, None).eval().requires_grad_(False)


def shape_and_parameters(row: BackboneRow) -> tuple[tuple[int, ...], int]:
    module = built(row)
    features = module(torch.zeros(2, 3, row.px, row.px, device="meta"))
    return tuple(features.shape), sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", [name if name in QUICK else slow(name) for name in ROWS])
def test_every_row_is_made_without_weights_and_has_the_dimension_parameters_and_operations_it_says(name: str) -> None:
    row = ROWS[name]
    module = built(row)
    with FlopCounterMode(display=False) as counted:
        features = module(torch.zeros(2, 3, row.px, row.px, device="meta"))
    assert tuple(features.shape) == (2, row.dim)
    assert sum(parameter.numel() for parameter in module.parameters()) == row.params
    assert counted.get_total_flops() / 2e9 == pytest.approx(row.gflops, rel=5e-3)  # Swin has a part for each batch


@pytest.mark.parametrize("line", ENCODERS, ids=NAMES)
def test_every_encoder_of_the_papers_has_a_row_with_its_dimension_and_normalisation(line: dict[str, str]) -> None:
    rows = rows_of(line)
    assert rows
    before_projection = int(line["feature_dim_before_64"])
    assert before_projection in {row.dim for row in rows.values()}
    for name, row in rows.items():
        assert row.dim == before_projection or name.endswith(("-neck", "-neck-flat")), name
        assert list(row.mean) == json.loads(line["mean"])
        assert list(row.std) == json.loads(line["std"])
        interpolation, _, resize = line["library_native_eval_resize"].partition("/")
        assert row.interpolation == interpolation
        assert (row.resize == "squash") == (resize == "squash")
        assert row.crop_pct == (float(resize.removeprefix("crop_pct ")) if resize.startswith("crop_pct") else 1.0)
        assert row.papers


@pytest.mark.parametrize("line", ENCODERS, ids=NAMES)
def test_a_row_counts_the_parameters_of_what_computes_its_feature(line: dict[str, str]) -> None:
    """Where the csv's column is of another network than the feature's, its notes have the number."""
    printed = int(line["params_without_proj"])
    noted = {int(number.replace(",", "")) for number in re.findall(r"[\d,]{9,}(?= params)", line["notes"])}
    for name, row in rows_of(line).items():
        if name == "dinov2-vit-l14-224":  # 16 x 16 position embeddings instead of 37 x 37
            assert row.params == printed - (37**2 - 16**2) * 1024
        elif row.feature == "pre-neck" or name == "dinov2-vit-b14-224":
            assert {row.params} == noted
        else:
            assert row.params == printed


@pytest.mark.slow
@pytest.mark.parametrize("line", ENCODERS, ids=NAMES)
def test_the_count_with_projection_is_the_one_of_the_projected_feature(line: dict[str, str]) -> None:
    for row in rows_of(line).values():
        if row.feature == "pre-neck" or (row.options.get("img_size") and row.px != 518):
            continue  # printed for the whole network at its own size
        native = timm.get_pretrained_cfg(row.model) if row.library == "timm" else None
        whole = {"num_classes": native.num_classes} if native else {}
        projected = row.model_copy(update={"feature": "projected", "options": row.options | whole})
        shape, parameters = shape_and_parameters(projected)
        assert parameters == int(line["params_image_tower_with_proj"])
        assert not line["projected_dim"] or shape == (2, int(line["projected_dim"]))


def test_multigrain_is_a_resnet50_with_gem_whose_checkpoint_has_to_be_brought() -> None:
    [line] = [line for line in PRINTED if line["library"] == "none"]
    row = ROWS["multigrain-resnet50"]
    assert (row.px, row.dim) == (int(line["input_px"]), int(line["feature_dim_before_64"]))
    assert row.feature == "gem"
    assert row.hub_repository is None
    assert row.weights is not None


def test_sam_has_both_levels_of_unifexs_appendix_3() -> None:
    for size, dim in (("b", 768), ("l", 1024), ("h", 1280)):
        before, after, flat = (ROWS[f"sam-vit-{size}16{level}"] for level in ("", "-neck", "-neck-flat"))
        assert (before.feature, before.dim, before.px) == ("pre-neck", dim, 224)
        assert (after.feature, after.dim, after.px) == ("pooled", 256, 224)
        assert (flat.feature, flat.dim, flat.px) == ("flattened", 1024, 224)


ELSEWHERE = {"multigrain-resnet50"}  # its preprocessing is nowhere configured
OTHER_SIZE = {"dinov2-vit-b14-224", "dinov2-vit-l14-224"} | {name for name in ROWS if name.startswith("sam-")}


def test_every_rows_preprocessing_and_repository_are_the_librarys_own() -> None:
    wrong = []
    for name in [name for name, row in ROWS.items() if row.library != "transformers" and name not in ELSEWHERE]:
        row = ROWS[name]
        own = adapter(row.library).row_of(row.model)
        fields = {"resize", "crop_pct", "interpolation", "mean", "std"} | (set() if name in OTHER_SIZE else {"px"})
        if row.model_dump(include=fields) != own.model_dump(include=fields):
            wrong.append((name, row.model_dump(include=fields), own.model_dump(include=fields)))
        if (row.hub_repository, row.hub_files) != (own.hub_repository, own.hub_files):
            wrong.append((name, row.hub_repository, own.hub_repository))
    assert not wrong


def test_the_librarys_registries_are_read_rightly() -> None:
    for row in ROWS.values():
        if row.library == "open_clip":
            model, _, tag = row.model.partition("/")
            hub_name = open_clip.get_pretrained_cfg(model, tag)["hf_hub"]
            assert split_hub_name(hub_name)[0] == row.hub_repository
        elif row.library == "timm" and not row.weights:
            configuration = timm.get_pretrained_cfg(row.model)
            assert configuration is not None
            assert configuration.hf_hub_id == row.hub_repository


def test_augreg_is_not_augreg2_and_openai_metaclip_and_dfn_compute_quickgelu() -> None:
    for name, row in ROWS.items():
        if name.startswith("augreg"):
            assert row.model.endswith(".augreg_in21k_ft_in1k")
        if row.library == "open_clip":
            model, _, tag = row.model.partition("/")
            trained = open_clip.get_pretrained_cfg(model, tag).get("quick_gelu", False)
            configuration = open_clip.get_model_config(model)
            assert configuration is not None
            assert trained == configuration.get("quick_gelu", False), name


def test_rows_of_one_family_lie_together() -> None:
    families = [row.family for row in CATALOGUE.values()]
    changes = [family for i, family in enumerate(families) if i == 0 or families[i - 1] != family]
    assert len(changes) == len(set(changes))
    assert "" not in families


def test_no_two_rows_are_the_same_backbone() -> None:
    specs = [row.model_dump_json(exclude={"papers", "about", "family"}) for row in CATALOGUE.values()]
    assert len(set(specs)) == len(specs)


SOVIT = """
import resource, torch
from probe.backbones.catalogue import adapter, bundled_rows
from probe.backbones.module import ModuleEncoder
from probe.precision import Precision
row = bundled_rows()["siglip-so400m-14-384"]
torch.manual_seed(0)
encoder = ModuleEncoder(adapter("timm").build(row, None), row, torch.device("cpu"), Precision.fp32)
features = encoder(torch.randint(0, 256, (1, row.px, row.px, 3), dtype=torch.uint8))
assert features.shape == (1, 1152) and features.isfinite().all() and features.std() > 1e-4
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_sovit_400m_at_384_runs_forward_on_a_cpu_in_four_gigabytes() -> None:
    done = subprocess.run([sys.executable, "-c", SOVIT], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 4096
