"""The core of the cosine losses: each image's target cosine, and the log-sum-exp of its other classes' logits.

A margin changes only the target's logit, one number an image, so a loss is plain PyTorch on two vectors:

    target, others = class_logits(unit, weight, labels, sub_centers=3, scale=30.0)      # (B,), (B,)
    loss = F.softplus(others - 30.0 * (target - margin)).mean()                         # CosFace

Classes are walked in chunks that stay in cache, and the backward pass computes a chunk's cosines anew, so nothing of
size (B, C) exists; the result does not depend on the chunk beyond rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

MatmulPrecision = Literal["fp32", "bf16"]

LARGEST_EXPONENT = 64.0  # exp(64) and the sum of 10^9 of them, exp(-64) and its quotients are all normal fp32 numbers
CHUNK_BYTES = {"cpu": 3 << 19, "cuda": 1 << 28}  # of a chunk's cosines
LEAST_CHUNK = 256  # of a large batch: below, products are no longer fast
_TINY_LENGTH = 1e-12


class Negatives(Protocol):
    """What becomes of the other classes' logits, elementwise, after the maximum over sub-centres."""

    largest: float
    """The largest |logit| / scale."""

    def apply(self, logits: Tensor) -> None:
        """In place. (C', B) scale * cos; minus infinity stays."""
        ...

    def apply_with_slope(self, logits: Tensor) -> Tensor:
        """In place as `apply`; returns the derivative, which is finite, (C', B)."""
        ...


def class_logits(
    unit: Tensor,
    weight: Tensor,
    labels: Tensor,
    sub_centers: int,
    scale: float,
    negatives: Negatives | None = None,
    precision: MatmulPrecision = "fp32",
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """(B,) cosines of the labels' classes, and (B,) log sum over the other classes of exp(scale * cosine).

    `unit`: (B, d) of length 1. `weight`: (K*C, d) of any length, row k*C + c is sub-centre k of class c; a class's
    cosine is the largest of its K, and its gradient goes to that sub-centre, of several that tie to the first.
    With one class `others` is minus infinity. `precision` is that of the products with all classes; the target's cosine
    is always computed apart, in the dtype of `weight`. `chunk`: classes at a time.
    """
    if chunk is None:
        room = CHUNK_BYTES.get(unit.device.type, CHUNK_BYTES["cpu"])
        chunk = max(LEAST_CHUNK, room // (unit.element_size() * len(unit) * sub_centers))
    walk = _Walk(sub_centers, scale, negatives, precision, chunk)
    return _ClassLogits.apply(unit, weight, labels, walk)


def target_cosines(unit: Tensor, weight: Tensor, labels: Tensor, sub_centers: int) -> Tensor:
    """(B,) cosines of the labels' classes alone. Shapes as in `class_logits`; meant for use without gradient."""
    by_center = weight.view(sub_centers, -1, weight.shape[1])[:, labels]  # (K, B, d)
    return (by_center * inverse_lengths(by_center)[..., None] * unit).sum(2).amax(0)


def inverse_lengths(weight: Tensor) -> Tensor:
    """(..., C, d) -> (..., C)."""
    return torch.linalg.vector_norm(weight, dim=-1).clamp_min_(_TINY_LENGTH).reciprocal_()


@contextmanager
def products(precision: MatmulPrecision) -> Iterator[None]:
    """PyTorch's own switch: bf16 products summed in fp32 where the CPU has them, TF32 on a GPU."""
    if precision == "fp32":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class _ClassLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx, unit, weight, labels, walk):
        by_center = weight.view(walk.sub_centers, -1, weight.shape[1])  # (K, C, d)
        inverse = inverse_lengths(by_center)  # (K, C)
        cosines = (by_center[:, labels] * inverse[:, labels, None] * unit).sum(2)  # (K, B)
        target, center = cosines.max(dim=0)
        with products(walk.precision):
            others = walk.log_sum_exp(unit, by_center, inverse, labels)
        ctx.save_for_backward(unit, weight, labels, inverse, target, center, others)
        ctx.walk = walk
        return target, others

    @staticmethod
    @once_differentiable
    def backward(ctx, target_gradient, others_gradient):
        unit, weight, labels, inverse, target, center, others = ctx.saved_tensors
        by_center = weight.view(*inverse.shape, -1)
        with products(ctx.walk.precision):
            unit_gradient, gradient = ctx.walk.gradients(unit, by_center, inverse, labels, others, others_gradient)
        length = inverse[center, labels, None]  # (B, 1)
        nearest = by_center[center, labels] * length  # (B, d)
        slope = target_gradient[:, None]
        unit_gradient += slope * nearest
        rows = center * by_center.shape[1] + labels
        gradient = gradient.view_as(weight)
        add_rows(gradient, rows, slope * length * (unit - target[:, None] * nearest))
        return unit_gradient, gradient, None, None


def add_rows(matrix: Tensor, rows: Tensor, values: Tensor) -> None:
    """matrix[rows[i]] += values[i] for (B,) rows that may repeat and (B, d) values, in place, the same bits each time:
    CUDA's own addition has no fixed order."""
    if matrix.is_cuda:
        matrix[rows] = matrix[rows] + summed_by_row(rows, values)  # those of one row write the same
    else:
        matrix.index_add_(0, rows, values)


def summed_by_row(rows: Tensor, values: Tensor) -> Tensor:
    """(B, d): for each of the rows the sum of the values of all that are the same row."""
    return (rows[:, None] == rows).to(values.dtype) @ values


class _Walk:
    """One walk over the classes in chunks, its buffers made once."""

    def __init__(
        self, sub_centers: int, scale: float, negatives: Negatives | None, precision: MatmulPrecision, chunk: int
    ) -> None:
        self.sub_centers, self.scale, self.negatives, self.chunk = sub_centers, scale, negatives, chunk
        self.bounded = scale * (negatives.largest if negatives else 1.0) <= LARGEST_EXPONENT
        self.precision = precision

    def log_sum_exp(self, unit: Tensor, by_center: Tensor, inverse: Tensor, labels: Tensor) -> Tensor:
        """(B,) over the classes that are not the label's."""
        sums = unit.new_zeros(len(unit))
        highest = torch.full_like(sums, 0.0 if self.bounded else -torch.inf)
        for _, _, cosines in self._chunks(unit, by_center, inverse, labels):
            logits = cosines[-1]
            if self.negatives:
                self.negatives.apply(logits)
            if not self.bounded:
                before, highest = highest, torch.maximum(highest, logits.amax(0))
                stable = highest.nan_to_num(neginf=0.0)
                sums *= (before - stable).exp_()
                logits -= stable
            sums += logits.exp_().sum(0)
        return highest + sums.log()

    def gradients(
        self,
        unit: Tensor,
        by_center: Tensor,
        inverse: Tensor,
        labels: Tensor,
        others: Tensor,
        others_gradient: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """(B, d) and (K, C, d): the gradients of log_sum_exp for the unit embeddings and the unnormalised weight."""
        others = others.nan_to_num(neginf=0.0)
        factor = self.scale * (others_gradient * (-others).exp() if self.bounded else others_gradient)[:, None]
        scaled = factor * unit  # (B, d)
        unit_gradient, gradient = torch.zeros_like(unit), torch.empty_like(by_center)
        size = self.sub_centers * min(self.chunk, by_center.shape[1])
        outer_buffer, product_buffer = unit.new_empty(2, size, unit.shape[1])
        for classes, normal, cosines in self._chunks(unit, by_center, inverse, labels):
            share = cosines[-1]
            for center in cosines[:-1]:
                center.eq_(share)  # 1 where it is the nearest
            slope = self.negatives.apply_with_slope(share) if self.negatives else None
            if not self.bounded:
                share -= others
            share.exp_()
            if slope is not None:
                share *= slope
            for center in cosines[:-1]:
                share -= center.mul_(share)  # what is taken is gone, so that of ties the first gets it
            shares = cosines.flatten(0, 1)  # (K*C', B)
            unit_gradient.addmm_(shares.T, normal)
            outer, product = outer_buffer[: len(shares)], product_buffer[: len(shares)]
            torch.mm(shares, scaled, out=outer)
            radial = torch.mul(outer, normal, out=product).sum(1, keepdim=True)
            outer.addcmul_(normal, radial, value=-1)
            torch.mul(outer.view(*cosines.shape[:2], -1), inverse[:, classes, None], out=gradient[:, classes])
        return unit_gradient.mul_(factor), gradient

    def _chunks(
        self, unit: Tensor, by_center: Tensor, inverse: Tensor, labels: Tensor
    ) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Per chunk of C' classes: their slice; their normalised weights, (K*C', d); the scaled cosines of their first
        K - 1 sub-centres and of the nearest of all K, minus infinity at the labels, (K, C', B). Both may be written."""
        centers, classes, dim = by_center.shape
        size, batch = min(self.chunk, classes), len(unit)
        normal_buffer = unit.new_empty(centers * size * dim)
        cosine_buffer = unit.new_empty((centers * size + 1) * batch)
        images = (self.scale * unit).T
        starts = torch.arange(0, classes, size, device=unit.device)[:, None]  # of each chunk
        inside = (labels >= starts) & (labels < starts + size)
        rows = torch.where(inside, labels - starts, (classes - starts).clamp_max(size))  # (chunks, B), or past the end
        for i, start in enumerate(range(0, classes, size)):
            chunk = slice(start, min(start + size, classes))
            count = chunk.stop - start
            normal = normal_buffer[: centers * count * dim].view(centers, count, dim)
            torch.mul(by_center[:, chunk], inverse[:, chunk, None], out=normal)
            cosines = cosine_buffer[: centers * count * batch].view(centers, count, batch)
            normal = normal.view(-1, dim)
            torch.mm(normal, images, out=cosines.view(-1, batch))
            nearest = cosines[-1]
            for center in cosines[:-1]:
                torch.maximum(nearest, center, out=nearest)
            with_spare_row = cosine_buffer[(centers - 1) * count * batch : (centers * count + 1) * batch]
            with_spare_row.view(-1, batch).scatter_(0, rows[i : i + 1], -torch.inf)
            yield chunk, normal, cosines
