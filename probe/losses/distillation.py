"""What a student learns from a teacher on the same batch: its class probabilities, and which images it finds similar.

Both terms are UDON's (Ypsilantis et al., NeurIPS 2024, arXiv 2406.08332, figure 2; the formulas are its released
code's). Nothing reaches the teacher. As in the core, classes are walked in chunks, and nothing that needs a gradient is
kept for all of them.

    loss = logit_distillation(student, student_centers, teacher, teacher_centers, temperature=0.1)
    loss = loss + relation_distillation(student, teacher)
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from probe.losses.core import CHUNK_BYTES, LARGEST_EXPONENT, LEAST_CHUNK, MatmulPrecision, inverse_lengths, products

LEAST_TEMPERATURE = 1 / LARGEST_EXPONENT


def relation_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Sum over all pairs of the batch of the squared difference between their two cosines, divided by 4 B.

    (B, d) and (B, d') embeddings of any length -> scalar. The 4 is the released code's: it keeps on one device the
    value that the authors had on four, each with a quarter of the batch.
    """
    own, given = F.normalize(student, dim=1), F.normalize(teacher.detach(), dim=1)
    return (own @ own.T - given @ given.T).square().sum() / (4 * len(own))


def logit_distillation(
    student: Tensor,
    student_centers: Tensor,
    teacher: Tensor,
    teacher_centers: Tensor,
    temperature: float,
    precision: MatmulPrecision = "fp32",
    chunk: int | None = None,
) -> Tensor:
    """Mean over the batch of KL(p || q) over C classes: p = softmax(cos / temperature) of the teacher, q the student's.

    (B, d) and (B, d') embeddings, (C, d) and (C, d') class centres, all of any length -> scalar. The student's
    embeddings and centres get the gradient. `temperature`: at least 1/64, so that no exponential overflows. `chunk`:
    classes at a time; one (C, B) matrix, the teacher's, is kept for the backward pass.
    """
    if temperature < LEAST_TEMPERATURE:
        raise ValueError(f"a temperature of {temperature} is below {LEAST_TEMPERATURE}")
    if chunk is None:
        room = CHUNK_BYTES.get(student.device.type, CHUNK_BYTES["cpu"])
        chunk = max(LEAST_CHUNK, room // (student.element_size() * len(student)))
    own, given = F.normalize(student, dim=1), F.normalize(teacher.detach(), dim=1)
    return _LogitDistillation.apply(
        own, student_centers, given, teacher_centers.detach(), temperature, precision, chunk
    ).mean()


class _LogitDistillation(torch.autograd.Function):
    """(B,) divergences. With logits t and s: Σ e^t (t - s) / Σ e^t - ln Σ e^t + ln Σ e^s."""

    @staticmethod
    def forward(ctx, own, centers, given, teacher_centers, temperature, precision, chunk):
        length, teacher_length = inverse_lengths(centers), inverse_lengths(teacher_centers)
        images, teacher_images = (own / temperature).T, (given / temperature).T
        shares = own.new_empty(len(centers), len(own))  # e^t
        logits = own.new_empty(2, min(chunk, len(centers)), len(own))
        teacher_sum, own_sum, apart = own.new_zeros(3, len(own))
        with products(precision):
            for start in range(0, len(centers), chunk):
                classes = slice(start, start + chunk)
                share = shares[classes]
                t, s = logits[:, : len(share)]
                torch.mm(teacher_centers[classes], teacher_images, out=t).mul_(teacher_length[classes, None])
                torch.mm(centers[classes], images, out=s).mul_(length[classes, None])
                torch.exp(t, out=share)
                teacher_sum += share.sum(0)
                apart += t.sub_(s).mul_(share).sum(0)
                own_sum += s.exp_().sum(0)
        ctx.save_for_backward(own, centers, length, shares, teacher_sum, own_sum)
        ctx.temperature, ctx.precision, ctx.chunk = temperature, precision, chunk
        return apart / teacher_sum - teacher_sum.log() + own_sum.log()

    @staticmethod
    @once_differentiable
    def backward(ctx, outer):
        own, centers, length, shares, teacher_sum, own_sum = ctx.saved_tensors
        images = own / ctx.temperature
        scaled = images * outer[:, None]  # (B, d)
        own_gradient, gradient = torch.zeros_like(own), torch.empty_like(centers)
        logits = own.new_empty(min(ctx.chunk, len(centers)), len(own))
        normals = own.new_empty(len(logits), own.shape[1])
        with products(ctx.precision):
            for start in range(0, len(centers), ctx.chunk):
                classes = slice(start, start + ctx.chunk)
                slope = logits[: len(centers[classes])]  # of each class's logit: q - p
                normal = torch.mul(centers[classes], length[classes, None], out=normals[: len(slope)])
                torch.mm(normal, images.T, out=slope).exp_().div_(own_sum)
                slope.addcdiv_(shares[classes], teacher_sum, value=-1)
                own_gradient.addmm_(slope.T, normal)
                of_classes = torch.mm(slope, scaled, out=gradient[classes])
                radial = (of_classes * normal).sum(1, keepdim=True)
                of_classes.addcmul_(normal, radial, value=-1).mul_(length[classes, None])
        return own_gradient.mul_(outer[:, None] / ctx.temperature), gradient, None, None, None, None, None
