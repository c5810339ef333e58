from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from probe import heads
from probe.extract.features import CachedFeatures
from probe.fit import DistillationConfig, EpochRecord, FitData, Fitted, TrainedConfig, fit, read_run_config
from probe.fit.distillation import DistillationObjective
from probe.fit.trainer import build_objective
from probe.runs.checkpoint import FILE, RunCheckpoint
from tests.conftest import slow
from tests.fit.world import BACKBONE, CPU, DIM, PLENTY, fitted, untrained

SEPARATE = {"sampler": "round-robin", "classifier": "separate"}
TRAINING = {"batch": 16, "lr": 0.01, "epochs": 3, "schedule": "constant", "warmup_epochs": 0} | SEPARATE


def distilled(distillation: Any = None, **changes: Any) -> TrainedConfig:
    values: dict[str, Any] = {
        "backbone": BACKBONE,
        "head": {"kind": "linear", "dim": 8},
        "loss": {"kind": "normalised-softmax"},
        "training": TRAINING,
        "distillation": distillation or {"teacher_dim": 12},
    }
    config = read_run_config(values | changes)
    assert isinstance(config, TrainedConfig)
    return config


@pytest.fixture(scope="module")
def data(cached: CachedFeatures) -> FitData:
    return FitData(cached, CPU, PLENTY)


def built(config: TrainedConfig, data: FitData) -> DistillationObjective:
    objective = build_objective(config, data, torch.Generator().manual_seed(config.seed))
    assert isinstance(objective, DistillationObjective)
    return objective


def batch(data: FitData, domain: int) -> tuple[Tensor, Tensor, int]:
    rows = data.rows_of_domain()[domain][:7]
    return data.train.take(rows).float(), data.labels[torch.from_numpy(rows)], domain


def formula(objective: DistillationObjective, features: Tensor, labels: Tensor, domain: int) -> dict[str, Tensor]:
    """The four terms with all logits in memory, for a linear head without dropout, weights 2 and 3, temperature 0.2."""
    own = labels - labels.min()
    weights = dict(objective.named_parameters())
    teacher, centers = f"teachers.{domain}", (f"classifiers.{domain}.weight", f"teacher_classifiers.{domain}.weight")
    x = F.linear(features, weights["head.weight"], weights["head.bias"])
    t = F.linear(F.normalize(features, dim=1), weights[f"{teacher}.weight"], weights[f"{teacher}.bias"])
    cosines, teacher_cosines = (
        F.normalize(embeddings, dim=1) @ F.normalize(weights[name], dim=1).T
        for embeddings, name in zip((x, t), centers, strict=True)
    )
    p, log_q = (teacher_cosines.detach() / 0.2).softmax(1), (cosines / 0.2).log_softmax(1)
    relations = [F.normalize(each, dim=1) @ F.normalize(each, dim=1).T for each in (x, t.detach())]
    return {
        "classification": F.cross_entropy(16 * cosines, own),
        "teacher": F.cross_entropy(16 * teacher_cosines, own),
        "logit": 2 * F.kl_div(log_q, p, reduction="batchmean"),
        "relation": 3 * (relations[0] - relations[1]).square().sum() / (4 * len(x)),
    }


def test_the_loss_and_its_gradients_are_those_of_four_terms_in_float64(data: FitData) -> None:
    options = {"teacher_dim": 12, "logit_weight": 2, "relation_weight": 3, "temperature": 0.2}
    objective = built(distilled(options, head={"kind": "linear", "dim": 8, "dropout": 0}), data).double()
    features, labels, domain = batch(data, 1)
    value = objective(features.double(), labels, domain)
    value.backward()
    found = {name: weight.grad.clone() for name, weight in objective.named_parameters() if weight.grad is not None}
    objective.zero_grad()
    expected = formula(objective, features.double(), labels, domain)
    torch.stack(list(expected.values())).sum().backward()
    assert value.item() == pytest.approx(sum(term.item() for term in expected.values()), rel=1e-12)
    for name, term in expected.items():
        assert objective.parts()[name].item() == pytest.approx(term.item(), rel=1e-10), name
    gradients = {name: weight.grad for name, weight in objective.named_parameters() if weight.grad is not None}
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)


def test_teachers_learn_from_labels_alone_and_other_domains_not_at_all(data: FitData) -> None:
    gradients = []
    for weight in (0, 5):
        objective = built(distilled({"logit_weight": weight, "relation_weight": weight}), data)
        objective.train()
        objective(*batch(data, 0)).backward()
        of_teacher = [*objective.teachers[0].parameters(), *objective.teacher_classifiers[0].parameters()]
        gradients.append([weight.grad for weight in of_teacher])
        inactive = [objective.classifiers[1], objective.teachers[1], objective.teacher_classifiers[1]]
        assert all(weight.grad is None for module in inactive for weight in module.parameters())
    for without, with_terms in zip(*gradients, strict=True):
        assert torch.equal(without, with_terms)
        assert without.any()


def test_without_both_terms_the_student_is_the_head_that_separate_classifiers_train(cached: CachedFeatures) -> None:
    alone = fitted(distilled().model_copy(update={"distillation": None}), cached)
    beside = fitted(distilled({"logit_weight": 0, "relation_weight": 0}), cached)
    for name, value in alone.head.state_dict().items():
        assert torch.equal(value, beside.head.state_dict()[name]), "dropout's draws included"
    for split in ("val", "test"):
        assert getattr(beside.scores, split) == getattr(alone.scores, split)
    assert all(beside.per_query[index].equals(alone.per_query[index]) for index in alone.per_query)


@pytest.fixture(scope="module")
def run(cached: CachedFeatures) -> Fitted:
    return fitted(distilled(training=TRAINING | {"lr": 0.03, "epochs": 8}), cached)


@pytest.mark.slow
def test_the_student_is_better_than_a_random_head(run: Fitted, cached: CachedFeatures) -> None:
    random = fitted(untrained(heads.RandomProjection.Config(dim=8)), cached)
    assert mmp_of(run) > mmp_of(random) + 0.2
    assert run.history[-1].parts["logit"] < run.history[0].parts["logit"]


def mmp_of(run: Fitted) -> float:
    return run.scores.test.of("clean", "merged").value("mMP@5")


def test_history_has_the_parts_of_the_loss(run: Fitted) -> None:
    for record in run.history:
        assert set(record.parts) == {"classification", "teacher", "logit", "relation"}
        assert sum(record.parts.values()) == pytest.approx(record.loss, rel=1e-5)


def test_only_the_student_is_kept(run: Fitted) -> None:
    assert run.head.state_dict().keys() == {"weight", "bias"}
    assert run.scores.parameters == {
        "head": 8 * DIM + 8,
        "classes": 24 * 8,
        "teachers": 2 * (12 * DIM + 12) + 24 * 12,
    }
    assert run.scores.dim == 8


@pytest.mark.parametrize("changes", [{"sampler": "dynamic", "update_every": 4}, slow({"inactive": "zero-gradients"})])
def test_a_run_that_goes_on_has_the_same_bits(changes: dict[str, Any], cached: CachedFeatures, tmp_path: Path) -> None:
    config = distilled(training=TRAINING | changes)
    checkpoint = RunCheckpoint(tmp_path / ".run.partial", "k")

    class InterruptedRunError(Exception):
        pass

    def stop(record: EpochRecord) -> None:
        raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        fit(config, FitData(cached, CPU, PLENTY), checkpoint, on_epoch=stop)
    assert any("teachers" in name for name in load_file(checkpoint.folder / FILE)), "they go on too"
    resumed = fit(config, FitData(cached, CPU, PLENTY), checkpoint)
    undisturbed = fitted(config, cached)
    assert resumed.history == undisturbed.history
    assert all(resumed.per_query[index].equals(rows) for index, rows in undisturbed.per_query.items())
    for name, value in undisturbed.head.state_dict().items():
        assert torch.equal(value, resumed.head.state_dict()[name])


@pytest.mark.parametrize("head", ["linear", "l2-linear-l2", "linear-l2", "batch-norm-linear"])
@pytest.mark.parametrize("loss", ["normalised-softmax", "arcface", "adaface"])
def test_any_trained_head_and_any_loss_with_a_centre_a_class(head: str, loss: str, data: FitData) -> None:
    objective = built(distilled(head={"kind": head, "dim": 8}, loss={"kind": loss}), data)
    objective.train()
    objective(*batch(data, 1)).backward()
    gradients = [weight.grad for weight in objective.head.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_the_dynamic_sampler_goes_by_the_teachers_loss(data: FitData) -> None:
    objective = built(distilled(), data)
    value = objective(*batch(data, 0)).detach()
    assert objective.difficulty(value) == objective.parts()["teacher"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": TRAINING | {"sampler": "uniform", "classifier": "joint"}}, "classifier: separate"),
        ({"training": TRAINING | {"classifier": "joint"}}, "classifier: separate"),
        ({"head": {"kind": "pca-whitening"}, "loss": None, "training": None}, "'pca-whitening' is not"),
        ({"loss": {"kind": "softmax"}}, "loss 'softmax' has none"),
        ({"loss": {"kind": "sub-center-arcface"}}, "has several"),
        ({"distillation": {"temperature": 0.01}}, "temperature"),
        ({"distillation": {"teacher": 256}}, "teacher"),
    ],
)
def test_what_cannot_be_distilled_is_refused_in_a_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        distilled(**changes)


def test_the_defaults_are_udons() -> None:
    assert DistillationConfig().model_dump() == {
        "teacher_dim": 256,
        "logit_weight": 1.0,
        "relation_weight": 1.0,
        "temperature": 0.1,
    }
