"""`head: auto`: what is chosen, by what, and that nothing but the training classes decides it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from probe import heads
from probe.errors import UsageError
from probe.extract.features import CachedFeatures
from probe.fit import Candidate, ClosedFormConfig, FitData, Fitted, candidates, candidates_for, choice, fit
from probe.fit.choice import choose, chosen_of
from probe.runs.checkpoint import CANDIDATES, RunCheckpoint
from tests.fit.world import BACKBONE, CPU, PLENTY, World, features_of, small_manifest

CONFIG = ClosedFormConfig(backbone=BACKBONE, head=heads.Auto.Config(dim=8))


@pytest.fixture(scope="module")
def data(cached: CachedFeatures) -> FitData:
    return FitData(cached, CPU, PLENTY)


Told = tuple[Fitted, list[str]]


@pytest.fixture(scope="module")
def told(data: FitData) -> Told:
    lines: list[str] = []
    return fit(CONFIG, data, on_note=lines.append), lines


def choice_of(run: Fitted):
    assert run.scores.choice is not None
    return run.scores.choice


@pytest.mark.slow
def test_the_run_is_that_of_the_chosen_configuration_by_itself(told: Told, data: FitData) -> None:
    run, _ = told
    alone = fit(candidates_for(CONFIG, data, 8, lambda line: None)[choice_of(run).chosen], data)
    assert run.scores.model_copy(update={"choice": None}) == alone.scores
    assert run.history == alone.history
    features = data.test.take(np.arange(20)).float()
    assert torch.equal(run.head(features), alone.head.eval()(features))


def test_every_candidate_is_told_with_its_spread_and_the_cost_before_the_first(told: Told) -> None:
    run, lines = told
    assert lines[0].startswith("auto: shrinkage ")
    assert lines[1].startswith("auto: 8 heads, each fitted at most 3 times on 24 training classes in 2 domain(s)")
    for candidate in choice_of(run).candidates:
        if candidate.folds:
            spread = f" ± {100 * np.std(candidate.folds, ddof=1):.1f}" if len(candidate.folds) > 1 else ""
            shown = f"{100 * candidate.mean:.1f}{spread} {candidate.name}"
            assert [line for line in lines if shown in line], candidate.name
    assert lines[-1] == f"auto: {choice_of(run).chosen}: {choice_of(run).why}"


def test_a_candidate_that_the_images_cannot_fit_is_left_out_and_says_why(data: FitData) -> None:
    long = ClosedFormConfig(backbone=BACKBONE, head=heads.PCA.Config(dim=49))
    (found,) = choice._measured({"long": long}, data, choice._folds(data), None, lambda line: None)
    assert found.folds == []
    assert "span only 48; lower head.dim" in (found.impossible or "")


@pytest.mark.slow
def test_validation_and_test_images_decide_nothing(told: Told, data: FitData) -> None:
    other = FitData.__new__(FitData)
    other.__dict__ |= data.__dict__ | {"val": data.val.at(np.arange(7)), "test": data.test.at(np.arange(7))}
    found, _ = choose(CONFIG, other, None, lambda line: None)
    assert found == choice_of(told[0])


def test_each_class_is_held_out_once_and_no_fold_has_a_class_on_both_sides(data: FitData) -> None:
    folds = choice._folds(data)
    assert len(folds) == 3
    assert np.sum(folds, axis=0).tolist() == [1] * len(data.train)
    for held_out in folds:
        part = data.fold(held_out)
        names = [set(rows.frame.select("domain", "label").iter_rows()) for rows in (part.train, part.val)]
        assert not names[0] & names[1]
        assert {domain for domain, _ in names[1]} == {"cars", "food"}


class InterruptedChoiceError(Exception):
    pass


class Interrupting(RunCheckpoint):
    """Until so many scores are kept."""

    def write_candidates(self, device: str, candidates: Sequence[Candidate]) -> None:
        super().write_candidates(device, candidates)
        if sum(len(candidate.folds) for candidate in candidates) == 10:
            raise InterruptedChoiceError


def test_a_choice_that_was_interrupted_goes_on_with_what_it_had(
    told: Told, data: FitData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InterruptedChoiceError):
        choose(CONFIG, data, Interrupting(tmp_path, "k"), lambda line: None)
    scored: list[object] = []
    score = choice._score
    monkeypatch.setattr(choice, "_score", lambda *given: (scored.append(given), score(*given))[1])
    found, _ = choose(CONFIG, data, RunCheckpoint(tmp_path, "k"), lambda line: None)
    assert found == choice_of(told[0])
    assert len(scored) == sum(len(candidate.folds) for candidate in found.candidates) - 10


def test_scores_of_another_run_or_device_or_damaged_ones_are_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [Candidate(name="a", folds=[0.5, 0.25])]
    checkpoint = RunCheckpoint(tmp_path, "k")
    checkpoint.write_candidates("cpu", kept)
    assert checkpoint.candidates("cpu") == kept
    assert checkpoint.candidates("cuda") == []
    assert RunCheckpoint(tmp_path, "other").candidates("cpu") == []
    file = tmp_path / CANDIDATES
    file.write_text(file.read_text().replace("0.25", "0.75"))
    assert checkpoint.candidates("cpu") == []
    assert "candidates.json cannot be read" in capsys.readouterr().err
    file.write_bytes(bytes(len(file.read_bytes())))
    assert checkpoint.candidates("cpu") == []


@pytest.mark.parametrize(
    ("classes", "chosen"),
    [
        (1, "discriminant, shrinkage"),
        (2, "discriminant, shrinkage"),
        (4, "two stages: discriminant, shrinkage"),
        (9, "two stages: discriminant, shrinkage"),
    ],
)
def test_of_few_classes_the_default_is_taken(classes: int, chosen: str, tmp_path: Path) -> None:
    frame = small_manifest()
    few = [f"train{number}" for number in range(classes)]
    world = World(tmp_path, frame.filter((pl.col("split") != "train") | pl.col("label").is_in(few)))
    world.store(features_of(world.frame))
    run = fit(CONFIG, FitData(world.cached(), CPU, PLENTY))
    assert choice_of(run).chosen.startswith(chosen)
    assert choice_of(run).chosen.endswith("power 0.5")
    assert choice_of(run).candidates == []
    assert f"the default for {2 * classes} training classes in 2 domain(s)" in choice_of(run).why
    assert run.scores.dim == 8


def test_of_fewer_images_than_dimensions_the_head_is_shorter_and_says_so(tmp_path: Path) -> None:
    frame = small_manifest()
    one = frame.filter((pl.col("split") != "train") | ((pl.col("label") == "train0") & (pl.col("domain") == "cars")))
    world = World(tmp_path, one)
    world.store(features_of(world.frame))
    config = CONFIG.model_copy(update={"head": heads.Auto.Config(dim=64)})
    lines: list[str] = []
    run = fit(config, FitData(world.cached(), CPU, PLENTY), on_note=lines.append)
    assert run.scores.dim == 9
    assert lines[0] == "auto: 9 dimensions, which is all that 10 training images span"
    assert choice_of(run).chosen == "PCA-whitening"


@pytest.mark.parametrize(("classes", "first"), [(3.9, "disc"), (4.0, "two "), (19.9, "two "), (20.0, "disc")])
def test_two_stages_are_the_default_where_a_domain_has_some_classes_but_not_many(classes: float, first: str) -> None:
    names = list(candidates(CONFIG, 8, 24, {0.5: 1.0, 1.0: 0.5}, classes))
    assert names[0].startswith(first)
    assert names[0].endswith("discriminant, shrinkage 1, power 0.5")
    assert next(iter(candidates(CONFIG, 8, 24, {}, classes))) == "PCA-whitening"


def scored(**folds: list[float]) -> list[Candidate]:
    return [Candidate(name=name, folds=found) for name, found in folds.items()]


def test_the_default_is_left_only_for_one_that_is_better_by_more_than_a_standard_error() -> None:
    own = [0.5, 0.6, 0.7]
    clearly = chosen_of(scored(default=own, other=[0.52, 0.63, 0.72], third=[0.1, 0.1, 0.1]), 3)
    assert (clearly.chosen, clearly.why) == ("other", "on held-out classes 2.3 ± 0.3 better than default")
    barely = chosen_of(scored(default=own, other=[0.56, 0.6, 0.66]), 3)
    assert barely.chosen == "default"
    out = chosen_of(scored(default=[0.1, 0.1], other=own, third=own), 3)
    assert out.chosen == "other"
    with pytest.raises(UsageError, match="no head that these images can fit: too few"):
        chosen_of([Candidate(name="a", folds=[], impossible="too few")], 3)


def test_what_is_four_points_behind_after_one_fold_or_two_after_two_goes_no_further() -> None:
    found = {each.name: each for each in scored(best=[0.6, 0.6], near=[0.57, 0.595], far=[0.57, 0.58], out=[0.55])}
    found["none"] = Candidate(name="none", folds=[], impossible="too few")
    assert choice._going_on(found, 0) == ["best", "near", "far", "out"]
    assert choice._going_on(found, 1) == ["best", "near", "far"]
    assert choice._going_on(found, 2) == ["best", "near"]


def test_where_the_default_cannot_be_fitted_the_next_one_is_taken(data: FitData) -> None:
    configs = {f"PCA {dim}": CONFIG.model_copy(update={"head": heads.PCA.Config(dim=dim)}) for dim in (49, 48, 8)}
    assert choice._first_possible(configs, data) == "PCA 48"
    with pytest.raises(UsageError, match="no head that these images can fit: PCA to 49 dimensions"):
        choice._first_possible({"PCA 49": configs["PCA 49"]}, data)


def test_the_file_of_the_chosen_head_says_which_it_is(told: Told, tmp_path: Path, data: FitData) -> None:
    run, _ = told
    heads.save_head(run.head, tmp_path / "head.safetensors")
    loaded = heads.load_head(CONFIG.head, tmp_path / "head.safetensors", data.train.dim, CPU)
    features = data.test.take(np.arange(20)).float()
    assert torch.equal(loaded(features), run.head(features))
    assert isinstance(loaded, heads.Auto)
    staged = heads.Distilled.Config(dim=6, teacher=heads.Discriminant.Config(dim=16, power=0.5))
    head = heads.build_head(staged, 48, torch.Generator())
    auto = heads.Auto(48, 1, torch.Generator()).adopt(staged, head)
    heads.save_head(auto, tmp_path / "head.safetensors")
    again = heads.load_head(replace_dim(CONFIG, 6), tmp_path / "head.safetensors", 48, CPU)
    assert torch.equal(again(features), head(features))


def replace_dim(config: ClosedFormConfig, dim: int) -> heads.Head.Config:
    return config.head.model_copy(update={"dim": dim})
