"""The student of a head in closed form, against its steps in plain NumPy; what it draws; what it cannot learn from."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from probe.heads import Discriminant, Distilled, TrainingImages, distilled
from probe.heads.distilled import cosine_error

LABELS = torch.arange(500) % 50
TEACHER = Discriminant.Config(dim=16, shrinkage=3.0)


def student(features: torch.Tensor, seed: int = 0, dim: int = 6) -> Distilled:
    config = Distilled.Config(dim=dim, teacher=TEACHER)
    head = Distilled.build(config, features.shape[1], torch.Generator().manual_seed(seed))
    return head.fit(TrainingImages.of(features, LABELS))


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.sqrt((rows**2).sum(1, keepdims=True))


def gradient(weight: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """Of the mean over all pairs of (s_i · s_j / |s_i| |s_j| - t_i · t_j)^2 by W, s = W t, pair by pair."""
    found, rows = np.zeros_like(weight), teacher @ weight.T
    lengths = np.sqrt((rows**2).sum(1))
    for i in range(len(rows)):
        for j in range(len(rows)):
            cosine = rows[i] @ rows[j] / lengths[i] / lengths[j]
            error = 2 * (cosine - teacher[i] @ teacher[j]) / len(rows) ** 2
            by_i = rows[j] / lengths[i] / lengths[j] - cosine * rows[i] / lengths[i] ** 2
            by_j = rows[i] / lengths[i] / lengths[j] - cosine * rows[j] / lengths[j] ** 2
            found += error * (np.outer(by_i, teacher[i]) + np.outer(by_j, teacher[j]))
    return found


def test_the_student_is_that_of_adams_steps_in_plain_loops(
    features: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distilled, "EPOCHS", 2)
    monkeypatch.setattr(distilled, "BATCH", 20)
    features, labels = features[:70], LABELS[:70]
    images = TrainingImages.of(features, labels)
    head = Distilled(24, 6, torch.Generator().manual_seed(3), teacher=TEACHER).fit(images)
    teacher = Discriminant(24, 16, torch.Generator(), shrinkage=3.0).fit(images)
    given = unit(teacher(features).double().numpy())
    weight, mean, square = np.eye(6, 16), np.zeros((6, 16)), np.zeros((6, 16))
    generator, steps = torch.Generator().manual_seed(3), 0
    for _ in range(2):
        order = torch.randperm(70, generator=generator).numpy()
        for start in range(0, 70, 20):
            slope = gradient(weight, given[order[start : start + 20]])
            rate = 0.01 * (1 + np.cos(np.pi * steps / 8)) / 2
            steps += 1
            mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
            weight -= rate * (mean / (1 - 0.9**steps)) / (np.sqrt(square / (1 - 0.999**steps)) + 1e-8)
    np.testing.assert_allclose(head.weight.numpy(), weight, atol=1e-4)
    np.testing.assert_allclose(head(features).numpy(), given @ weight.T, atol=1e-4)


def test_the_error_is_of_cosines_whatever_the_lengths() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(5, 3, generator=generator), torch.randn(5, 8, generator=generator)
    cosines = [unit(rows.double().numpy()) @ unit(rows.double().numpy()).T for rows in (student, teacher)]
    expected = np.mean((cosines[0] - cosines[1]) ** 2)
    assert cosine_error(student, teacher).item() == pytest.approx(expected, rel=1e-5)
    assert cosine_error(3 * student, 0.1 * teacher).item() == pytest.approx(expected, rel=1e-5)


def test_it_keeps_the_teachers_cosines_better_than_the_teachers_first_dimensions(features: torch.Tensor) -> None:
    head = student(features)
    teacher = head.teacher(features)
    assert cosine_error(head(features), teacher) < 0.9 * cosine_error(teacher[:, :6], teacher)


def test_the_same_seed_gives_the_same_bits_and_another_one_others(features: torch.Tensor) -> None:
    once = student(features)
    assert torch.equal(student(features).weight, once.weight)
    assert not torch.equal(student(features, seed=1).weight, once.weight)


def test_of_many_images_it_learns_from_some_evenly_spaced(
    features: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distilled, "IMAGES", 250)
    taken: list[int] = []

    def take(rows: np.ndarray) -> torch.Tensor:
        taken.extend(rows.tolist())
        return features[torch.from_numpy(rows)]

    images = TrainingImages(LABELS, [np.arange(500)], take, lambda: iter([(torch.arange(500), features)]))
    head = Distilled(24, 6, torch.Generator().manual_seed(0), teacher=TEACHER)
    head.teacher.fit(images)
    taken.clear()
    head._embeddings(images)
    assert taken == list(range(0, 500, 2))


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"kind": "linear"}, "head 'linear' is trained; name one in closed form"),
        ({"kind": "discriminent"}, "did you mean 'discriminant'"),
        ({"kind": "discriminant", "dim": 64}, "the teacher has 64 dimensions, and its student 64"),
        ({"kind": "discriminant", "dims": 128}, "dims"),
    ],
)
def test_a_teacher_that_teaches_nothing_is_refused(teacher: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Distilled.Config.model_validate({"kind": "distilled", "teacher": teacher})


def test_any_head_in_closed_form_can_be_the_teacher(features: torch.Tensor) -> None:
    config = Distilled.Config.model_validate({"dim": 6, "teacher": {"kind": "pca-whitening", "dim": 12}})
    head = Distilled.build(config, 24, torch.Generator().manual_seed(0)).fit(TrainingImages.of(features))
    assert head(features).shape == (500, 6)
    assert Distilled.Config.model_validate(config.model_dump()) == config
