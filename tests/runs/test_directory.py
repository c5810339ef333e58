import ast
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from safetensors.torch import load_file

import probe
from probe import heads, losses
from probe.errors import UsageError
from probe.extract.features import CachedFeatures
from probe.extract.selection import Selection
from probe.fit import EpochRecord, Fitted, RunConfig, SplitRows, Training, read_run_config, score
from probe.metrics import INDEXES, METRICS, PROTOCOLS
from probe.runs import PER_QUERY, Run, RunDirectory, SweepError, sweep
from probe.runs import run as run_module
from probe.runs.sealed import seal
from tests.fit.world import BACKBONE, CPU, DIM, World, features_of, fitted, linear, untrained

FILES = {"config.yaml", "history.jsonl", "metrics.json", "head.safetensors", "environment.json", "digests.json"}
FILES |= {*PER_QUERY.values()}
SHORT = linear(epochs=2)


@pytest.fixture(scope="module")
def short(cached: CachedFeatures) -> Fitted:
    return fitted(SHORT, cached)


@pytest.fixture
def run(cached: CachedFeatures, tmp_path: Path) -> Run:
    """Not yet written."""
    return Run(SHORT, cached.identity, tmp_path / "runs")


def key(config: RunConfig, inputs: dict[str, str]) -> str:
    return Run(config, inputs, Path("runs")).key


def test_the_directory_holds_exactly_the_promised_files(run: Run, short: Fitted) -> None:
    run.write(short, "cpu")
    assert {file.name for file in run.path.iterdir()} == FILES
    assert [entry.name for entry in run.folder.iterdir()] == [run.path.name], "nothing temporary is left"


def test_what_is_written_is_what_was_fitted(run: Run, short: Fitted, cached: CachedFeatures) -> None:
    run.write(short, "cpu")
    assert run.scores == short.scores
    lines = (run.path / "history.jsonl").read_text().splitlines()
    assert [EpochRecord.model_validate_json(line) for line in lines] == short.history
    for index, file in PER_QUERY.items():
        assert pl.read_parquet(run.path / file).equals(short.per_query[index])
    finished = RunDirectory(run.path)
    assert (finished.key, finished.config, finished.features.dim) == (run.key, SHORT, DIM)
    assert finished.features.spec == cached.spec
    assert (finished.inputs, finished.code, finished.environment.device) == (run.inputs, run.code, "cpu")
    assert finished.history == short.history
    assert all(finished.per_query(index).equals(frame) for index, frame in short.per_query.items())
    head = finished.head(CPU)
    assert not head.training
    assert score(head, SplitRows(cached, cached.frame("test"), "device", CPU)).scores == run.scores.test


@pytest.mark.parametrize(
    "config",
    [
        SHORT,
        untrained(heads.RandomProjection.Config(dim=8)),
        untrained(heads.PCAWhitening.Config(dim=8, per_domain=30)),
        untrained(heads.AveragePooling.Config(dim=8)),
        untrained(heads.FullDimension.Config()),
    ],
    ids=lambda config: config.head.kind,
)
def test_the_same_seed_twice_writes_the_same_bytes(config: RunConfig, cached: CachedFeatures, tmp_path: Path) -> None:
    runs = [Run(config, cached.identity, tmp_path / name) for name in ("a", "b")]
    assert sweep([(run, cached) for run in runs], "cpu") == 2
    for name in ("metrics.json", "head.safetensors", "history.jsonl", "config.yaml"):
        assert (runs[0].path / name).read_bytes() == (runs[1].path / name).read_bytes()
    assert (runs[0].path / "metrics.json").stat().st_size > 0


@pytest.mark.parametrize(
    "config",
    [
        SHORT,
        untrained(heads.RandomProjection.Config(dim=8)),
        untrained(heads.PCAWhitening.Config(dim=8, per_domain=30)),
    ],
)
def test_another_seed_writes_another_head_and_other_metrics(
    config: RunConfig, cached: CachedFeatures, tmp_path: Path
) -> None:
    runs = [Run(config.model_copy(update={"seed": seed}), cached.identity, tmp_path) for seed in (0, 1)]
    assert sweep([(run, cached) for run in runs], "cpu") == 2
    for name in ("metrics.json", "head.safetensors"):
        assert (runs[0].path / name).read_bytes() != (runs[1].path / name).read_bytes()


def test_a_finished_run_is_skipped_and_left_untouched(run: Run, cached: CachedFeatures) -> None:
    assert not run.done
    assert sweep([(run, cached)], "cpu") == 1
    assert run.done
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in run.path.iterdir()}
    assert sweep([(run, cached)], "cpu") == 0
    assert {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in run.path.iterdir()} == before


def test_a_run_without_its_metrics_is_redone(run: Run, cached: CachedFeatures) -> None:
    sweep([(run, cached)], "cpu")
    before = (run.path / "metrics.json").read_bytes()
    (run.path / "metrics.json").unlink()
    (run.path / "head.safetensors").write_bytes(b"half")
    assert not run.done
    assert sweep([(run, cached)], "cpu") == 1
    assert (run.path / "metrics.json").read_bytes() == before
    assert {file.name for file in run.path.iterdir()} == FILES


def test_a_run_that_breaks_while_it_is_written_leaves_no_directory_under_its_name(run: Run, short: Fitted) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.write(replace(short, scores=short.scores.model_copy(update={"dim": float("nan")})), "cpu")
    assert not run.path.exists()
    assert not run.done
    assert list(run.folder.iterdir()) == []
    run.write(short, "cpu")
    assert run.scores == short.scores
    assert list(run.folder.iterdir()) == [run.path]


def test_what_a_killed_process_left_goes_when_the_run_is_written_and_what_a_living_one_writes_stays(
    run: Run, short: Fitted
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    host = socket.gethostname().partition(".")[0]
    living = f".{run.path.name}.{host}-{os.getppid()}"
    for name in (f".{run.path.name}.{host}-{dead.pid}", living, run.checkpoint.folder.name):
        (run.folder / name).mkdir(parents=True)
    run.write(short, "cpu")
    assert {path.name for path in run.folder.iterdir()} == {run.path.name, living}


def test_a_run_may_be_named_from_inside_it(run: Run, short: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write(short, "cpu")
    monkeypatch.chdir(run.path)
    assert RunDirectory(Path()).name == run.path.name
    assert RunDirectory(Path()).key == run.key


def test_what_a_loss_keeps_beside_its_classes_is_saved_with_the_run(cached: CachedFeatures, tmp_path: Path) -> None:
    config = SHORT.model_copy(update={"loss": losses.CurricularFace.Config(scale=8)})
    run = Run(config, cached.identity, tmp_path)
    sweep([(run, cached)], "cpu")
    assert {file.name for file in run.path.iterdir()} == FILES | {"loss.safetensors"}
    saved = load_file(run.path / "loss.safetensors")
    assert saved.keys() == {"t"}
    assert float(saved["t"]) != 0


@pytest.mark.parametrize("content", [b"", b'{"test": {"mean": {"mMP@5"', b"\xff\xfe\x00", b"not json"])
def test_damaged_metrics_are_a_clear_error(content: bytes, run: Run, short: Fitted) -> None:
    run.write(short, "cpu")
    (run.path / "metrics.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"metrics\.json cannot be read .*; delete .* and fit again") as error:
        _ = Run(run.config, run.inputs, run.folder).scores
    assert str(run.path) in str(error.value)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: (path / "config.yaml").unlink(),
        lambda path: (path / "config.yaml").write_text(""),
        lambda path: (path / "config.yaml").write_bytes(b"\xff\xfe\x00"),
        lambda path: (path / "config.yaml").write_text("key: [1, 2"),
        lambda path: (path / "config.yaml").write_text("key: abc\nfeatures: {dim: 3, spec: {}}\nconfig: {backbone: x}"),
    ],
    ids=["absent", "empty", "no text", "no yaml", "no run configuration"],
)
def test_a_folder_that_is_no_finished_run_is_a_clear_error(spoil: Any, run: Run, short: Fitted) -> None:
    run.write(short, "cpu")
    spoil(run.path)
    with pytest.raises(UsageError, match=r"is not a finished run|config\.yaml cannot be read"):
        _ = RunDirectory(run.path).config


READS: dict[str, Any] = {
    "config.yaml": lambda run: run.config,
    "history.jsonl": lambda run: run.history,
    "metrics.json": lambda run: run.scores,
    "environment.json": lambda run: run.environment,
    "per_query.parquet": lambda run: run.per_query("merged"),
    "per_query_separate.parquet": lambda run: run.values("separate", "R@1"),
    "head.safetensors": lambda run: run.head(CPU),
}
ANOTHER_FORM = {
    "config.yaml": b"key: abc\nconfig: [1]\ninputs: {}\nfeatures: {dim: 3, spec: {}}\n",
    "history.jsonl": b'{"epoch": 1}\n',
    "metrics.json": b'{"test": {"clean": {"merged": {"mean": {"mMP@5": 0.5}}}}}',
    "environment.json": b'{"seconds": "long"}',
}


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00half"], ids=["missing", "empty", "damaged"])
@pytest.mark.parametrize("file", sorted(READS.keys() - {"history.jsonl"}))
def test_a_file_that_is_missing_or_damaged_is_one_sentence(
    file: str, content: bytes | None, run: Run, short: Fitted
) -> None:
    run.write(short, "cpu")
    if content is None:
        (run.path / file).unlink()
    else:
        (run.path / file).write_bytes(content)
    with pytest.raises(UsageError) as error:
        READS[file](RunDirectory(run.path))
    assert str(run.path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_history_that_is_missing_or_damaged_is_one_sentence(run: Run, short: Fitted) -> None:
    run.write(short, "cpu")
    (run.path / "history.jsonl").write_bytes(b"\xff\xfe\x00half")
    with pytest.raises(UsageError, match=r"history\.jsonl cannot be read"):
        _ = RunDirectory(run.path).history
    (run.path / "history.jsonl").unlink()
    with pytest.raises(UsageError, match=r"history\.jsonl cannot be read"):
        _ = RunDirectory(run.path).history


def test_a_history_without_an_epoch_is_one_sentence(run: Run, short: Fitted) -> None:
    run.write(short, "cpu")
    (run.path / "history.jsonl").write_text("")
    seal(run.path)
    with pytest.raises(UsageError, match=r"history\.jsonl cannot be read \(it has no epoch\)"):
        _ = RunDirectory(run.path).history


def test_scores_that_were_not_computed_are_one_sentence(run: Run, short: Fitted) -> None:
    run.write(short, "cpu")
    file = run.path / "metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"test": {}}))
    seal(run.path)
    with pytest.raises(UsageError, match="no clean scores in the merged index"):
        RunDirectory(run.path).scores.test.of("clean", "merged")


def test_a_configuration_of_other_features_than_the_ones_that_were_read_is_one_sentence(
    run: Run, short: Fitted
) -> None:
    run.write(short, "cpu")
    file = run.path / "config.yaml"
    record = yaml.safe_load(file.read_text())
    record["features"]["spec"] = {}
    file.write_text(yaml.safe_dump(record))
    seal(run.path)
    with pytest.raises(UsageError, match="no spec of the features of") as error:
        _ = RunDirectory(run.path).config
    assert "\n" not in str(error.value)


def test_a_configuration_whose_part_is_gone_says_which(run: Run, short: Fitted) -> None:
    run.write(short, "cpu")
    file = run.path / "config.yaml"
    record = yaml.safe_load(file.read_text())
    record["config"]["loss"]["kind"] = "gone:MyLoss"
    file.write_text(yaml.safe_dump(record))
    seal(run.path)
    with pytest.raises(UsageError, match=r"loss 'gone:MyLoss' cannot be loaded .*; put back what it names") as error:
        _ = RunDirectory(run.path).config
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("dim", "spec"), [(10**30, {}), (DIM, {"dtype": float("nan")})], ids=["dimension", "not a number"]
)
def test_features_that_cannot_be_are_one_sentence(dim: int, spec: dict[str, Any], run: Run, short: Fitted) -> None:
    run.write(short, "cpu")
    file = run.path / "config.yaml"
    record = yaml.safe_load(file.read_text())
    record["features"] = {"dim": dim, "spec": {name: of | spec for name, of in record["features"]["spec"].items()}}
    file.write_text(yaml.safe_dump(record))
    seal(run.path)
    with pytest.raises(UsageError, match=r"config\.yaml cannot be read \(features") as error:
        _ = RunDirectory(run.path).config
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("file", ANOTHER_FORM)
def test_a_valid_file_of_another_form_is_one_sentence(file: str, run: Run, short: Fitted) -> None:
    run.write(short, "cpu")
    (run.path / file).write_bytes(ANOTHER_FORM[file])
    seal(run.path)
    with pytest.raises(UsageError, match=file) as error:
        READS[file](RunDirectory(run.path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda rows: rows.drop("neighbours"), "it has no column 'neighbours'"),
        (lambda rows: rows.with_columns(n=pl.lit("two")), "its column 'n' is String"),
        (
            lambda rows: rows.with_columns(pl.when(pl.int_range(pl.len()) != 2).then("domain").alias("domain")),
            "its column 'domain' has nothing in row 3",
        ),
        (
            lambda rows: rows.with_columns(neighbours=pl.lit(None, rows.schema["neighbours"])),
            "its column 'neighbours' has nothing in row 1",
        ),
        (lambda rows: rows.with_columns(pl.lit("high").alias("R@1")), "its values of 'R@1' are String"),
    ],
)
def test_per_query_values_of_another_form_are_one_sentence(change: Any, problem: str, run: Run, short: Fitted) -> None:
    run.write(short, "cpu")
    change(short.per_query["merged"]).write_parquet(run.path / "per_query.parquet")
    seal(run.path)
    with pytest.raises(UsageError, match=rf"per_query\.parquet cannot be read \({problem}\); delete .* and fit again"):
        RunDirectory(run.path).per_query("merged")


@pytest.mark.parametrize("file", sorted(READS))
def test_a_flipped_bit_in_any_file_is_one_sentence_and_no_number(file: str, run: Run, short: Fitted) -> None:
    run.write(short, "cpu")
    rng, whole = np.random.default_rng(0), (run.path / file).read_bytes()
    for position in rng.integers(len(whole), size=20).tolist():
        changed = bytearray(whole)
        changed[position] ^= 1 << int(rng.integers(8))
        (run.path / file).write_bytes(changed)
        with pytest.raises(UsageError, match=rf"{file} cannot be read \(it is not what was written\); delete .*"):
            READS[file](RunDirectory(run.path))


def test_digests_that_are_damaged_or_gone_are_one_sentence(run: Run, short: Fitted) -> None:
    run.write(short, "cpu")
    digests = run.path / "digests.json"
    for content in (digests.read_bytes().replace(b'"files"', b'"filez"'), b"{}", bytes(100), None):
        digests.unlink() if content is None else digests.write_bytes(content)
        with pytest.raises(UsageError, match=r"digests\.json cannot be read"):
            _ = RunDirectory(run.path).scores


def test_another_runs_scores_are_not_taken(run: Run, short: Fitted, cached: CachedFeatures) -> None:
    run.write(short, "cpu")
    other = Run(linear(epochs=2, lr=0.02), run.inputs, run.folder)
    other.write(fitted(other.config, cached), "cpu")
    shutil.copy(other.path / "metrics.json", run.path / "metrics.json")
    with pytest.raises(UsageError, match="it is not what was written"):
        _ = RunDirectory(run.path).scores


@pytest.mark.parametrize("value", [-0.1, 40.2, 1e300])
def test_scores_that_no_metric_can_have_are_one_sentence(value: float, run: Run, short: Fitted) -> None:
    run.write(short, "cpu")
    scores = json.loads((run.path / "metrics.json").read_text())
    scores["test"]["clean"]["merged"]["mean"]["mMP@5"] = value
    (run.path / "metrics.json").write_text(json.dumps(scores))
    seal(run.path)
    with pytest.raises(UsageError, match=r"metrics\.json cannot be read .*mMP@5") as error:
        _ = RunDirectory(run.path).scores
    assert "\n" not in str(error.value)


def test_no_other_package_knows_the_files_of_a_run() -> None:
    """But for config.yaml, whose name people see on the page."""
    package = Path(probe.__file__).parent
    names = FILES - {"config.yaml", "environment.json"} | {"loss.safetensors"}
    for file in package.rglob("*.py"):
        if file.relative_to(package).parts[0] in ("runs", "evaluate"):
            continue
        tree = ast.parse(file.read_text())
        texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert not names & texts, file


def test_a_run_of_before_is_read_though_it_does_not_say_what_code_made_it(run: Run, short: Fitted) -> None:
    run.write(short, "cpu")
    content = yaml.safe_load((run.path / "config.yaml").read_text())
    del content["code"], content["sealed"]
    (run.path / "digests.json").unlink()
    (run.path / "config.yaml").write_text(yaml.safe_dump(content))
    environment = json.loads((run.path / "environment.json").read_text())
    (run.path / "environment.json").write_text(json.dumps({"device": environment["device"]}))
    found = RunDirectory(run.path)
    assert found.code is None
    assert found.config == SHORT
    assert found.environment.seconds is None


CHANGES: dict[str, dict[str, Any]] = {
    "head": {"dim": 16, "dropout": 0.3},
    "loss": {"kind": "arcface", "margin": 0.4, "scale": 9, "sub_centers": 3, "precision": "bf16", "init": "unit"},
    "training": {
        "epochs": 5,
        "samples": 200,
        "validate_every": 50,
        "batch": 17,
        "optimizer": "adamw",
        "betas": [0.8, 0.99],
        "momentum": 0.5,
        "nesterov": True,
        "weight_decay": 0.0,
        "lr": 0.2,
        "schedule": "constant",
        "lr_min": 0.0,
        "warmup_epochs": 0,
        "freeze_head_epochs": 1,
        "select_by": "R@1",
        "select_on": "cars",
        "sampler": "round-robin",
        "domains": ["food", "cars"],
        "specialist_steps": {"cars": 1, "food": 3},
        "update_every": 10,
        "classifier": "separate",
        "inactive": "zero-gradients",
        "val_seed": 1,
    },
}
BESIDE: dict[str, dict[str, Any]] = {
    "momentum": {"optimizer": "sgd"},
    "nesterov": {"optimizer": "sgd"},
    "samples": {"samples": 100, "validate_every": 100},
    "validate_every": {"samples": 100, "validate_every": 100},
    "domains": {"sampler": "balanced"},
    "specialist_steps": {"sampler": "specialist-steps", "specialist_steps": {"cars": 1, "food": 2}},
    "update_every": {"sampler": "dynamic"},
    "classifier": {"sampler": "balanced"},
    "inactive": {"sampler": "balanced", "classifier": "separate"},
}


@pytest.mark.parametrize(
    ("section", "field"), [(section, field) for section, fields in CHANGES.items() for field in fields]
)
def test_the_key_changes_with_every_field_of_the_configuration(section: str, field: str) -> None:
    before = BESIDE.get(field, {})
    content = linear(**before).model_dump(mode="json")
    content[section][field] = CHANGES[section][field]
    if field == "kind":
        del content[section]["sub_centers"]
    if field == "schedule":
        del content[section]["lr_min"]
    assert key(read_run_config(content), {}) != key(linear(**before), {})


def test_the_test_above_covers_every_field() -> None:
    content = linear().model_dump(
        exclude=dict.fromkeys(Selection.model_fields, True)
        | {"seed": True, "domain": True, "distance": True, "distillation": True, "head": {"kind"}}
    )
    assert {section: fields.keys() for section, fields in content.items()} == {
        section: fields.keys() for section, fields in CHANGES.items()
    }


@pytest.mark.parametrize(
    "change", [{"teacher_dim": 8}, {"logit_weight": 2}, {"relation_weight": 2}, {"temperature": 1}]
)
def test_the_key_changes_with_every_field_of_the_distillation(change: dict[str, Any]) -> None:
    separate = linear(sampler="balanced", classifier="separate").model_dump(mode="json")
    separate["loss"] = {"kind": "normalised-softmax"}
    plain, usual, other = (read_run_config(separate | {"distillation": d}) for d in (None, {}, change))
    assert len({key(each, {}) for each in (plain, usual, other)}) == 3


def test_the_key_changes_with_the_seed() -> None:
    assert len({key(linear(seed=seed), {}) for seed in range(5)}) == 5


def test_the_key_and_the_name_change_with_the_domain() -> None:
    runs = [Run(linear().model_copy(update={"domain": each}), {}, Path()) for each in (None, "cars", "food")]
    assert len({run.key for run in runs}) == 3
    assert len({run.name for run in runs}) == 3


def test_the_key_changes_with_the_distance() -> None:
    assert len({key(linear().model_copy(update={"distance": each}), {}) for each in ("cosine", "euclidean")}) == 2


def test_a_run_keeps_its_scores_by_protocol_and_index(short: Fitted) -> None:
    test = short.scores.test
    assert {protocol: set(by_index) for protocol, by_index in test.root.items()} == {
        protocol: set(INDEXES) for protocol in PROTOCOLS
    }
    assert all(tuple(test.of(protocol, index).mean) == METRICS for protocol in PROTOCOLS for index in INDEXES)
    assert short.scores.val
    assert short.scores.val.mean.keys() == {"mMP@5", "R@1"}
    assert short.scores.last
    assert short.scores.last.test.mean.keys() == set(METRICS)


def test_the_key_changes_with_every_choice_of_features() -> None:
    choices = [{}, {"backbone": ("a", "b")}, {"backbone": ("b", "a")}, {"views": True}, {"append": ("width",)}]
    assert len({key(linear().model_copy(update=choice), {}) for choice in choices}) == len(choices)


def test_the_key_changes_with_the_head() -> None:
    configs = [
        untrained(heads.FullDimension.Config()),
        untrained(heads.AveragePooling.Config()),
        untrained(heads.RandomProjection.Config()),
        untrained(heads.RandomProjection.Config(dim=32)),
        untrained(heads.PCAWhitening.Config()),
        untrained(heads.PCAWhitening.Config(per_domain=100)),
    ]
    assert len({key(config, {}) for config in configs}) == len(configs)


def test_the_key_does_not_change_with_how_a_number_is_written(cached: CachedFeatures) -> None:
    written = yaml.safe_load("{kind: sub-center-arcface, scale: 8, sub_centers: 2}")
    loss = losses.SubCenterArcFace.Config.model_validate(written)
    assert key(linear().model_copy(update={"loss": loss}), cached.identity) == key(linear(), cached.identity)


def test_the_key_changes_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key(linear(), {})
    monkeypatch.setattr(run_module, "code_of_run", lambda config: {"probe/fit/trainer.py": "another"})
    assert key(linear(), {}) != before


def test_the_key_changes_with_the_manifest_the_features_and_the_images_left_out(world: World, tmp_path: Path) -> None:
    features = features_of(world.frame)
    worlds = {name: World(tmp_path / name, world.frame) for name in ("same", "again", "spec", "failed", "labels")}
    relabelled = world.frame.with_columns(pl.col("label").replace("test1", "test0"))
    worlds["labels"] = World(tmp_path / "labels", relabelled)
    for name, each in worlds.items():
        failed = frozenset({"train/cars/0/0.jpg"} if name == "failed" else ())
        each.store(features, failed, spec="v2" if name == "spec" else "v1")
    keys = {name: key(SHORT, each.cached().identity) for name, each in worlds.items()}
    assert keys["same"] == keys["again"]
    assert len(set(keys.values())) == 4


def test_the_path_names_the_run_and_starts_with_no_character_that_needs_quoting(tmp_path: Path) -> None:
    config = linear(seed=3).model_copy(update={"backbone": "open_clip:ViT-B-16/openai"})
    path = Run(config, {}, tmp_path).path
    assert path.parent == tmp_path
    assert path.name == f"open_clip-ViT-B-16-openai_linear_sub-center-arcface_seed3_{key(config, {})[:12]}"


def test_the_paths_of_two_regimes_differ_by_more_than_their_key(tmp_path: Path) -> None:
    """So that a shell's pattern never mixes them."""
    separate = {"sampler": "round-robin", "classifier": "separate"}
    regimes = [{}, {"sampler": "round-robin"}, separate, separate | {"inactive": "zero-gradients"}]
    configs = [linear(seed=3).model_copy(update={"training": Training.model_validate(regime)}) for regime in regimes]
    names = [Run(config, {}, tmp_path).path.name.rsplit("_", 1)[0] for config in configs]
    assert len(set(names)) == len(regimes)


def test_where_every_run_failed_no_others_are_said_to_be_done(cached: CachedFeatures, tmp_path: Path) -> None:
    diverging, good = (Run(linear(lr=lr, lr_min=0, epochs=1), cached.identity, tmp_path) for lr in (1e30, 0.1))
    with pytest.raises(SweepError, match=r"^1 of 1 run\(s\) failed\. "):
        sweep([(diverging, cached)], "cpu")
    with pytest.raises(SweepError, match=r"^1 of 2 run\(s\) failed, the others are done\. "):
        sweep([(diverging, cached), (good, cached)], "cpu")


def test_a_sweep_fits_only_what_is_not_done(cached: CachedFeatures, tmp_path: Path) -> None:
    runs = [Run(untrained(heads.RandomProjection.Config(dim=8), seed), cached.identity, tmp_path) for seed in range(3)]
    assert sweep([(runs[1], cached)], "cpu") == 1
    assert sweep([(run, cached) for run in runs], "cpu") == 2
    assert all(run.done for run in runs)
    assert runs[0].config.backbone == BACKBONE
