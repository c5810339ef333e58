"""The heads as their papers print them: NumPy in float64, from a finished head's state and the features."""

from collections.abc import Callable
from typing import Any

import numpy as np

from probe.heads import HeadConfig

State = dict[str, np.ndarray]
EPS = 1e-5  # of batch normalisation


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.sqrt((rows**2).sum(1, keepdims=True))


def linear(state: State, rows: np.ndarray, prefix: str = "") -> np.ndarray:
    return rows @ state[f"{prefix}weight"].T + state[f"{prefix}bias"]


def pooled(rows: np.ndarray, dim: int) -> np.ndarray:
    return rows.reshape(len(rows), dim, -1).mean(2)


def projected(state: State, rows: np.ndarray, prefix: str = "") -> np.ndarray:
    return (unit(rows) - state[f"{prefix}mean"]) @ state[f"{prefix}projection"].T


def _discriminant(config: Any, state: State, rows: np.ndarray) -> np.ndarray:
    return projected(state, np.sign(rows) * np.abs(rows) ** config.power)


def _distilled(config: Any, state: State, rows: np.ndarray) -> np.ndarray:
    teacher = {name.removeprefix("teacher."): value for name, value in state.items()}
    return unit(embedded(config.teacher, teacher, rows)) @ state["weight"].T


def _batch_norm_linear(config: Any, state: State, rows: np.ndarray) -> np.ndarray:
    spread = np.sqrt(state["norm.running_var"] + EPS)
    normal = (rows - state["norm.running_mean"]) / spread * state["norm.weight"] + state["norm.bias"]
    hidden = linear(state, normal, "linear.")
    return projected(state, hidden, "reduction.") if config.reduction == "pca" else pooled(hidden, config.dim)


FORMULAS: dict[str, Callable[[Any, State, np.ndarray], np.ndarray]] = {
    "full-dimension": lambda config, state, rows: rows,
    "average-pooling": lambda config, state, rows: pooled(rows, config.dim),
    "auto": lambda config, state, rows: linear(state, rows, "head."),
    "random-projection": lambda config, state, rows: linear(state, rows),
    "discriminant": _discriminant,
    "distilled": _distilled,
    "pca": lambda config, state, rows: projected(state, rows),
    "pca-whitening": lambda config, state, rows: projected(state, rows),
    "linear": lambda config, state, rows: linear(state, rows),
    "l2-linear-l2": lambda config, state, rows: unit(linear(state, unit(rows))),
    "linear-l2": lambda config, state, rows: unit(linear(state, unit(rows))),
    "batch-norm-linear": _batch_norm_linear,
}


def embedded(config: HeadConfig, state: State, rows: np.ndarray) -> np.ndarray:
    """(N, D) -> (N, d), of a head in eval mode."""
    return FORMULAS[config.kind](config, state, rows)
