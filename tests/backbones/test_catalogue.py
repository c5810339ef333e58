import hashlib
import json
import re
from pathlib import Path

import pytest

from probe.backbones.catalogue import Backbone, BackboneRow, bundled_rows, find_backbone
from probe.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
ROW = {"library": "timm", "model": "test_vit.r160_in1k", "px": 32, "crop_pct": 0.9, "options": {"img_size": 32}}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "tiny.safetensors").write_bytes(b"stands for weights: nothing here reads them")
    return tmp_path / "tiny.safetensors"


def catalogue(folder: Path, rows: dict) -> Path:
    path = folder / "catalogue.yaml"
    path.write_text(json.dumps({"backbones": rows}))  # JSON is YAML
    return path


def test_the_bundled_rows_are_valid_and_can_be_found_by_name() -> None:
    for name, row in bundled_rows().items():
        assert find_backbone(name) == Backbone(name, row)


def test_a_row_of_the_users_file_comes_before_a_bundled_one(tmp_path: Path, weights: Path) -> None:
    name = next(iter(bundled_rows()))
    path = catalogue(tmp_path, {name: ROW})
    assert find_backbone(name, path, weights) == Backbone(name, BackboneRow(**ROW), path, weights)


def test_an_unknown_backbone_names_the_nearest(tmp_path: Path) -> None:
    path = catalogue(tmp_path, {"mobilenetv1": ROW})
    with pytest.raises(UsageError, match=r"unknown backbone 'mobilnetv1'; did you mean 'mobilenetv1'\?.*timm:NAME"):
        find_backbone("mobilnetv1", path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"crop_pc": 1.0}, r"unknown key 'crop_pc'; did you mean 'crop_pct'\?"),
        ({"library": "keras"}, r"library: there is no library 'keras'; known: .*timm.*\(got 'keras'\)"),
        ({"interpolation": "nearest"}, r"interpolation: .*'bicubic'.*\(got 'nearest'\)"),
        ({"mean": [0.5, 0.5]}, r"mean.*: "),
        ({"px": "large"}, r"px: .*integer.*\(got 'large'\)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_bad_row_is_refused_with_the_file_the_backbone_and_the_key(tmp_path: Path, change: dict, what: str) -> None:
    path = catalogue(tmp_path, {"tiny": ROW | change})
    with pytest.raises(UsageError, match=rf"catalogue\.yaml: backbone 'tiny': {what}"):
        find_backbone("tiny", path)


@pytest.mark.parametrize("change", [{"px": 0}, {"px": -3}, {"crop_pct": 0}, {"std": [0, 1, 1]}], ids=str)
def test_a_number_that_cannot_be_is_refused(tmp_path: Path, change: dict) -> None:
    path = catalogue(tmp_path, {"tiny": ROW | change})
    with pytest.raises(UsageError, match=rf"backbone 'tiny': {next(iter(change))}"):
        find_backbone("tiny", path)


def test_a_row_without_a_model_is_refused(tmp_path: Path) -> None:
    path = catalogue(tmp_path, {"tiny": {"library": "timm", "px": 32}})
    with pytest.raises(UsageError, match=r"backbone 'tiny': 'model' is missing"):
        find_backbone("tiny", path)


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"a: [", "cannot be read"), (b"rows: {}", "no `backbones:` section"), (b"\xff\xfe", "cannot be read")],
    ids=["no YAML", "no section", "no text"],
)
def test_a_file_that_is_no_catalogue_is_refused(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "catalogue.yaml").write_bytes(content)
    with pytest.raises(UsageError, match=rf"--catalogue .*catalogue\.yaml .*{what}"):
        find_backbone("tiny", tmp_path / "catalogue.yaml")


def test_a_catalogue_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--catalogue .*absent\.yaml cannot be read: .*No such file"):
        find_backbone("tiny", tmp_path / "absent.yaml")


def test_weights_that_are_not_there_or_not_wanted_are_refused(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(UsageError, match=r"--weights .*absent\.pt: there is no such file"):
        find_backbone("timm:test_vit", weights=tmp_path / "absent.pt")
    built_in = next(name for name, row in bundled_rows().items() if row.library == "built-in")
    with pytest.raises(UsageError, match=f"'{built_in}' has no weights; leave it out"):
        find_backbone(built_in, weights=weights)


def test_a_row_with_local_weights_asks_for_the_file_by_name(tmp_path: Path) -> None:
    path = catalogue(tmp_path, {"tiny": ROW | {"weights": "tiny.safetensors"}})
    with pytest.raises(UsageError, match=r"'tiny' are not on the hub: name the file tiny\.safetensors with --weights"):
        find_backbone("tiny", path).spec()


def test_weights_of_another_digest_than_the_rows_are_refused(tmp_path: Path, weights: Path) -> None:
    right = hashlib.sha256(weights.read_bytes()).hexdigest()
    path = catalogue(tmp_path, {"tiny": ROW | {"sha256": right}, "other": ROW | {"sha256": "0" * 64}})
    assert find_backbone("tiny", path, weights).weights_sha256 == right
    said = rf"tiny\.safetensors has SHA-256 {right[:12]}…, and other needs 000000000000…; .*--weights"
    with pytest.raises(UsageError, match=said):
        find_backbone("other", path, weights).spec()


def test_the_spec_is_json_and_says_what_decides_the_features(weights: Path) -> None:
    spec = Backbone("tiny", BackboneRow(**ROW), weights=weights).spec("float32")
    assert json.loads(json.dumps(spec)) == spec
    assert spec["backbone"] == {
        "library": "timm",
        "model": "test_vit.r160_in1k",
        "options": {"img_size": 32},
        "feature": "pooled",
        "prefix": None,
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    assert (spec["precision"], spec["dtype"]) == ("float32", "float32")
    assert {"torch", "timm", "pillow", "torchvision"} <= set(spec["packages"])


CHANGES = {
    "model": "test_resnet.r160_in1k",
    "px": 48,
    "resize": "squash",
    "crop_pct": 1.0,
    "crop_offset": "floor",
    "interpolation": "bilinear",
    "resampling": "tensor",
    "mean": (0.0, 0.0, 0.0),
    "std": (1.0, 1.0, 1.0),
    "options": {"img_size": 64},
    "feature": "projected",
    "prefix": "student.",
}
# What they are called, what is written about them, and where the weights come from, whose digest is in the spec.
ASIDE = {"library", "weights", "sha256", "about", "repository", "file", "dim", "params", "gflops", "family", "papers"}


@pytest.mark.parametrize("field", CHANGES)
def test_the_spec_changes_with_every_field_that_decides_the_features(weights: Path, field: str) -> None:
    changed = BackboneRow(**(ROW | {field: CHANGES[field]}))
    plain = Backbone("tiny", BackboneRow(**ROW), weights=weights).spec()
    assert Backbone("tiny", changed, weights=weights).spec() != plain


@pytest.mark.parametrize("library", ["timm", "transformers"])
@pytest.mark.parametrize("fields", [{}, {"resize": "squash"}, {"resize": "squash", "crop_pct": 1.0}], ids=str)
@pytest.mark.parametrize("offset", [None, "round", "floor"])
def test_stores_stay_valid_where_pixels_are_as_before_there_were_offsets(library: str, fields: dict, offset) -> None:
    """Until then all crops were rounded, whatever the library."""
    row = BackboneRow(**(ROW | {"library": library, "crop_offset": offset} | fields))
    before = {
        "px": 32,
        "resize": row.resize,
        "crop_pct": row.crop_pct,
        "interpolation": "bicubic",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "orientation": "exif",
        "transparency": "white",
        "16-bit": "scaled",
    }
    floors = offset == "floor" or (offset is None and library == "transformers")
    crops = row.resize == "shortest+crop" or row.crop_pct < 1
    expected = before | {"crop_offset": "floor"} if floors and crops else before
    assert Backbone("tiny", row).identity()["preprocessing"] == expected


@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_the_views_of_training_and_test_are_told_as_ever_and_inference_by_its_resampling(
    tmp_path: Path, library: str
) -> None:
    """Whatever the row says: UniFEx crops and resizes its training images by torchvision on Pillow's images."""
    path = catalogue(tmp_path, {"tiny": ROW | {"library": library, "resampling": "tensor", "crop_offset": "floor"}})
    told = {
        view: find_backbone(f"tiny@{view}", path).identity()["preprocessing"] for view in ("train", "test", "inference")
    }
    assert set(told["train"]) == set(told["test"]) == set(told["inference"]) - {"resampling"}
    assert told["inference"] == told["test"] | {"resampling": "tensor"}


def test_every_field_of_a_row_is_in_the_spec_or_cannot_change_the_features() -> None:
    assert set(BackboneRow.model_fields) - set(CHANGES) == ASIDE


def test_the_spec_changes_with_the_weights_and_not_with_the_name(tmp_path: Path, weights: Path) -> None:
    row = BackboneRow(**ROW)
    (tmp_path / "copy.safetensors").write_bytes(weights.read_bytes())
    (tmp_path / "other.safetensors").write_bytes(b"others")
    spec = Backbone("tiny", row, weights=weights).spec()
    assert Backbone("renamed", row, weights=tmp_path / "copy.safetensors").spec() == spec
    assert Backbone("tiny", row, weights=tmp_path / "other.safetensors").spec() != spec


def test_the_identity_is_a_part_of_the_spec(weights: Path) -> None:
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    for row in (BackboneRow(**ROW), BackboneRow(**ROW, sha256=digest)):
        backbone = Backbone("tiny", row, weights=weights)
        identity, spec = backbone.identity(), backbone.spec()
        assert identity["backbone"].items() <= spec["backbone"].items()
        assert identity["preprocessing"] == spec["preprocessing"]


def test_the_documentations_catalogue_is_a_valid_one(tmp_path: Path) -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "backbones.md").read_text(), flags=re.DOTALL)
    (tmp_path / "own.yaml").write_text(text)
    assert find_backbone("shoes-vit-b16", tmp_path / "own.yaml").row.weights == "shoes.safetensors"


def test_the_documentation_explains_every_field_of_a_row() -> None:
    text = (ROOT / "docs" / "backbones.md").read_text()
    assert [field for field in BackboneRow.model_fields if field not in text] == []


def test_the_checkpoint_that_a_row_names_is_taken_from_beside_the_catalogue(tmp_path: Path, weights: Path) -> None:
    path = catalogue(tmp_path, {"tiny": ROW | {"weights": weights.name}, "other": ROW | {"weights": "elsewhere.pt"}})
    assert find_backbone("tiny", path).weights_file == weights
    (tmp_path / "given.safetensors").write_bytes(b"of the command line")
    assert find_backbone("tiny", path, tmp_path / "given.safetensors").weights_file == tmp_path / "given.safetensors"
    with pytest.raises(UsageError, match=r"name the file elsewhere\.pt with --weights, or put it beside"):
        find_backbone("other", path).weights_file  # noqa: B018


def test_a_row_without_px_has_the_pixels_that_timm_knows_but_for_what_it_says(tmp_path: Path) -> None:
    plain = {"library": "timm", "model": "vit_base_patch16_siglip_384.webli"}
    path = catalogue(tmp_path, {"plain": plain, "own": plain | {"crop_pct": 1.0}, "with-px": plain | {"px": 384}})
    known = find_backbone("timm:vit_base_patch16_siglip_384.webli").row
    assert find_backbone("plain", path).row.preprocessing == known.preprocessing
    assert known.crop_pct < 1
    assert find_backbone("own", path).row.preprocessing == known.preprocessing | {"crop_pct": 1.0}
    assert find_backbone("with-px", path).row.px == 384
    wrong = catalogue(tmp_path, {"wrong": plain | {"model": "vit_base_patch16_siglip_348"}})
    with pytest.raises(UsageError, match=r"`px` is missing, and timm has no model .*; did you mean"):
        find_backbone("wrong", wrong)


def test_options_of_the_constructor_stand_behind_a_name() -> None:
    row = find_backbone("timm:tf_mobilenetv3_small_075.in1k?pad_type=same&drop_rate=0.1").row
    assert (row.model, row.options) == ("tf_mobilenetv3_small_075.in1k", {"pad_type": "same", "drop_rate": 0.1})
    for name in ("timm:resnet18.a1_in1k?pad_type", "hf:org/name?a=1"):
        with pytest.raises(UsageError, match=r"is no option|options behind a \?"):
            find_backbone(name)
