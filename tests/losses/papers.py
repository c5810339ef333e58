"""The losses as their papers print them: float64, one cosine at a time, the angle from acos, gradients by hand.

A logit is scale * value(cosine), and its slope is that of the value. At a cosine of ±1 the direction in which the angle
changes is not defined; the gradient is 0 there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from probe import losses

Curve = Callable[[float], tuple[float, float]]  # cos θ -> value, its derivative


@dataclass(frozen=True)
class Paper:
    """One batch's formula: `target` and `other` (image, cosine) -> value and slope."""

    scale: float
    target: Callable[[int, float], tuple[float, float]]
    other: Callable[[int, float], tuple[float, float]] = lambda _, cosine: (cosine, 1.0)


def cosines(x: np.ndarray, weight: np.ndarray, sub_centers: int) -> tuple[np.ndarray, np.ndarray]:
    """(B, C) cosines of the nearest sub-centres, and their rows in the weight; the first of those that tie."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    centers = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    each = np.stack([[c @ u for c in centers] for u in unit]).reshape(len(x), sub_centers, -1)  # (B, K, C)
    nearest = each.argmax(1)
    classes = each.shape[2]
    return each.max(1).clip(-1, 1), nearest * classes + np.arange(classes)


def value_and_gradients(
    paper: Paper, x: np.ndarray, labels: np.ndarray, weight: np.ndarray, sub_centers: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """The mean loss, its gradient for the embeddings (B, d) and for the weight (K*C, d)."""
    cosine, rows = cosines(x, weight, sub_centers)
    x_length, w_length = np.linalg.norm(x, axis=1), np.linalg.norm(weight, axis=1)
    loss, x_gradient, weight_gradient = 0.0, np.zeros_like(x), np.zeros_like(weight)
    for i, label in enumerate(labels):
        curve = [paper.target(i, c) if j == label else paper.other(i, c) for j, c in enumerate(cosine[i])]
        logits = [paper.scale * value for value, _ in curve]
        top = max(logits)
        shares = [math.exp(logit - top) for logit in logits]
        total = sum(shares)
        loss += (math.log(total) + top - logits[label]) / len(labels)
        for j, (_, slope) in enumerate(curve):
            residual = -sum(shares[:j] + shares[j + 1 :]) if j == label else shares[j]
            outer = residual / total * paper.scale * slope / len(labels)
            u, w = x[i] / x_length[i], weight[rows[i, j]] / w_length[rows[i, j]]
            if abs(cosine[i, j]) < 1:
                x_gradient[i] += outer * (w - cosine[i, j] * u) / x_length[i]
                weight_gradient[rows[i, j]] += outer * (u - cosine[i, j] * w) / w_length[rows[i, j]]
    return loss, x_gradient, weight_gradient


@dataclass(frozen=True)
class Batch:
    """The first that a loss sees: embeddings (B, d), labels (B,), cosines (B, C), and the sizes of the C classes."""

    x: np.ndarray
    labels: np.ndarray
    cosines: np.ndarray
    sizes: list[int]

    @property
    def of_label(self) -> np.ndarray:
        return self.cosines[np.arange(len(self.x)), self.labels]


def paper_of(config: Any, x: np.ndarray, labels: np.ndarray, weight: np.ndarray, sizes: list[int]) -> Paper:
    """The formula of a configuration, for the first batch that its loss sees."""
    cosine, _ = cosines(x, weight, config.centers)
    return FORMULAS[config.kind](config, Batch(x, labels, cosine, sizes))


def _dynamic_arcface(config: Any, batch: Batch) -> Paper:
    margins = [dynamic_margin(batch.sizes[label], batch.sizes, config.margins) for label in batch.labels]
    return Paper(config.scale, lambda i, c: arcface(c, margins[i]))


def _curricularface(config: Any, batch: Batch) -> Paper:
    t = config.t_alpha * float(batch.of_label.mean())
    above = [arcface(c, config.margin)[0] for c in batch.of_label]
    return Paper(
        config.scale,
        lambda _, c: arcface(c, config.margin),
        lambda i, c: (c * (t + c), t + 2 * c) if c > above[i] else (c, 1.0),
    )


def _adaface(config: Any, batch: Batch) -> Paper:
    lengths = [math.sqrt(float(row @ row)) for row in batch.x]
    mean = sum(lengths) / len(lengths)
    spread = math.sqrt(sum((n - mean) ** 2 for n in lengths) / (len(lengths) - 1)) if len(lengths) > 1 else 0.0
    quality = [min(1.0, max(-1.0, (n - mean) / (spread + 1e-3) * config.h)) for n in lengths]
    return Paper(config.scale, lambda i, c: adaface(c, config.margin, quality[i]))


FORMULAS: dict[str, Callable[[Any, Batch], Paper]] = {
    "normalised-softmax": lambda config, _: Paper(config.scale, lambda _, c: (c, 1.0)),
    "cosface": lambda config, _: Paper(config.scale, lambda _, c: (c - config.margin, 1.0)),
    "arcface": lambda config, _: Paper(config.scale, lambda _, c: arcface(c, config.margin)),
    "sub-center-arcface": lambda config, _: Paper(config.scale, lambda _, c: arcface(c, config.margin)),
    "dynamic-arcface": _dynamic_arcface,
    "li-arcface": lambda config, _: Paper(
        config.scale, lambda _, c: linear(c, config.margin), lambda _, c: linear(c, 0.0)
    ),
    "adacos": lambda config, batch: Paper(
        adacos_scale(config.dynamic, batch.cosines, batch.labels), lambda _, c: (c, 1.0)
    ),
    "curricularface": _curricularface,
    "adaface": _adaface,
}


def arcface(cosine: float, margin: float) -> tuple[float, float]:
    theta = math.acos(cosine)
    if cosine <= math.cos(math.pi - margin):
        return cosine - margin * math.sin(math.pi - margin), 1.0
    return math.cos(theta + margin), math.sin(theta + margin) / math.sin(theta) if abs(cosine) < 1 else 0.0


def linear(cosine: float, margin: float) -> tuple[float, float]:
    theta = math.acos(cosine)
    return (math.pi - 2 * (theta + margin)) / math.pi, 2 / math.pi / math.sin(theta) if abs(cosine) < 1 else 0.0


def adaface(cosine: float, margin: float, quality: float) -> tuple[float, float]:
    theta = math.acos(cosine)
    moved = theta - margin * quality
    inside = 0 < moved < math.pi
    slope = math.sin(moved) / math.sin(theta) if inside and abs(cosine) < 1 else 0.0
    return math.cos(min(max(moved, 0.0), math.pi)) - margin - margin * quality, slope


def adacos_scale(dynamic: bool, cosine: np.ndarray, labels: np.ndarray) -> float:
    fixed = math.sqrt(2) * math.log(cosine.shape[1] - 1)
    if not dynamic:
        return fixed
    sums = [
        sum(math.exp(fixed * c) for j, c in enumerate(row) if j != label)
        for row, label in zip(cosine, labels, strict=True)
    ]
    angles = sorted(math.acos(row[label]) for row, label in zip(cosine, labels, strict=True))
    median = angles[(len(angles) - 1) // 2]  # of an even number the lower of the two in the middle
    scale = math.log(sum(sums) / len(sums)) / math.cos(min(math.pi / 4, median))
    return min(max(scale, fixed / 4), fixed * 4)


def dynamic_margin(size: int, sizes: list[int], config: losses.SizeMargins) -> float:
    least, most = min(sizes), max(sizes)
    if least == most:
        return config.most
    if isinstance(config, losses.CosineMargins):
        wave = 1 + math.cos(math.pi * (size - least) / (most - least))
        return config.least + 0.5 * (config.most - config.least) * wave
    assert isinstance(config, losses.PowerMargins)
    a = (config.most - config.least) / (least**-config.exponent - most**-config.exponent)
    b = config.least - a * most**-config.exponent
    return a * size**-config.exponent + b
