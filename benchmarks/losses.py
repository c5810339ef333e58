"""The margin losses: one step (loss, gradients, Adam) against pytorch-metric-learning and the one-hot style; the cost
of more classes; the memory of each, in a process of its own; how near bf16 products are.

make bench BENCH=losses
python -m benchmarks.losses memory
python -m benchmarks.losses accuracy
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator

import torch
from pytorch_metric_learning import losses as peer
from rich.table import Table
from torch import nn
from torch.nn import functional as F

from benchmarks.memory import peak_bytes
from benchmarks.pairs import compare_all, timed
from benchmarks.results import Cost, Result
from benchmarks.sections import Size
from probe import losses
from probe.losses import build_loss
from probe.terminal import printer

MARGIN, SCALE = 0.5, 30.0
CLASS_COUNTS = (1_000, 10_000, 34_800, 100_000, 316_446)
M4D_35K, SMALL = (34_800, 128, 64), (300, 16, 8)
WITH_ADAM = "torch Adam"
PAGE = "losses.md#speed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "accuracy", "one"))
    parser.add_argument("--classes", type=int, default=34_800)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--side", choices=sorted(STYLES), help="of `one`, which prints seconds and peak bytes as JSON")
    options = parser.parse_args()
    size = options.classes, options.batch, options.dim
    if options.what == "one":
        alone(options.side, *size, options.rounds)
    elif options.what == "memory":
        memory_of_classes(options.batch, options.dim)
    else:
        accuracy_of_bf16(*size)


# ---- `make bench` ----


def measure(size: Size) -> Iterator[Result]:
    classes, batch, dim = SMALL if size.small else M4D_35K
    data = batch_of(classes, batch, dim)
    for sub_centers, target in ((1, 2.0), (3, 4.0)):
        work = f"a step, {classes:,} classes, K = {sub_centers}, batch {batch}, {dim}-d"
        made = {name: make(classes, dim, sub_centers) for name, make in STYLES.items()}
        pml = made["pytorch-metric-learning"]
        peers = {
            f"pytorch-metric-learning, {WITH_ADAM}": step(pml, *data, fused=False),
            "pytorch-metric-learning, fused Adam": step(pml, *data, fused=True),
            f"one-hot, {WITH_ADAM}": step(made["one-hot"], *data, fused=False),
        }
        told = {"rounds": 3 * size.rounds, "page": PAGE}
        for found in compare_all(work, step(made["probe"], *data, fused=True), peers, **told):
            yield found.model_copy(update={"target": target if found.against == next(iter(peers)) else None})
        in_bf16 = step(made["probe bf16"], *data, fused=True)
        first = dict(list(peers.items())[:1])
        yield from compare_all(f"{work}, bf16", in_bf16, first, **told, target=3.5)
    for count in CLASS_COUNTS[:2] if size.small else CLASS_COUNTS:
        data = batch_of(count, batch, dim)
        for name in ("probe", "pytorch-metric-learning"):
            run = step(STYLES[name](count, dim, 1), *data, fused=True)
            run()
            seconds = statistics.median(timed(run) for _ in range(3))
            yield Cost(axis="classes", side=name, size=count, seconds=seconds)


# ---- the sides ----


class OneHot(nn.Module):
    """Sub-Center ArcFace as it is commonly written: all logits, and a one-hot mask to put the margin in."""

    def __init__(self, classes: int, dim: int, sub_centers: int) -> None:
        super().__init__()
        self.sub_centers = sub_centers
        self.weight = nn.Parameter(torch.empty(classes * sub_centers, dim))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        cosines = F.linear(F.normalize(embeddings), F.normalize(self.weight))
        cosines = cosines.view(len(labels), -1, self.sub_centers).amax(2)
        sines = (1 - cosines.square()).clamp_min(1e-9).sqrt()
        shifted = cosines * math.cos(MARGIN) - sines * math.sin(MARGIN)
        shifted = torch.where(cosines > -math.cos(MARGIN), shifted, cosines - MARGIN * math.sin(MARGIN))
        one_hot = torch.zeros_like(cosines).scatter_(1, labels[:, None], 1)
        return F.cross_entropy(SCALE * (one_hot * shifted + (1 - one_hot) * cosines), labels)


def ours(classes: int, dim: int, sub_centers: int, precision: str = "fp32") -> nn.Module:
    config = losses.SubCenterArcFace.Config.model_validate(
        {"margin": MARGIN, "scale": SCALE, "sub_centers": sub_centers, "precision": precision}
    )
    sizes = torch.ones(classes, dtype=torch.int64)
    return build_loss(config, sizes, dim, torch.Generator().manual_seed(0))


def theirs(classes: int, dim: int, sub_centers: int) -> nn.Module:
    options = {"num_classes": classes, "embedding_size": dim, "margin": math.degrees(MARGIN), "scale": SCALE}
    if sub_centers == 1:
        return peer.ArcFaceLoss(**options)
    return peer.SubCenterArcFaceLoss(sub_centers=sub_centers, **options)


STYLES: dict[str, Callable[[int, int, int], nn.Module]] = {
    "probe": ours,
    "probe bf16": lambda *size: ours(*size, precision="bf16"),
    "pytorch-metric-learning": theirs,
    "one-hot": OneHot,
}


def batch_of(classes: int, batch: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(batch, dim, generator=generator).requires_grad_()
    return embeddings, torch.randint(0, classes, (batch,), generator=generator)


def step(loss: nn.Module, embeddings: torch.Tensor, labels: torch.Tensor, *, fused: bool) -> Callable[[], float]:
    """One training step of the class matrix, with the gradient of the embeddings as well."""
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-3, weight_decay=1e-4, fused=fused)

    def run() -> float:
        value = loss(embeddings, labels)
        optimizer.zero_grad()
        embeddings.grad = None
        value.backward()
        optimizer.step()
        return value.item()

    return run


# ---- memory and accuracy ----


def alone(name: str, classes: int, batch: int, dim: int, rounds: int) -> None:
    run = step(STYLES[name](classes, dim, 1), *batch_of(classes, batch, dim), fused=True)
    run()
    seconds = statistics.median(timed(run) for _ in range(rounds))
    print(json.dumps({"seconds": seconds, "peak": peak_bytes()}))


def memory_of_classes(batch: int, dim: int) -> None:
    """Memory above that of a process with two classes; a weight, its gradient and Adam's averages take 16 bytes."""
    table = Table(title=f"K = 1, batch {batch}, {dim}-d, fused Adam: time of a step, and peak memory over 2 classes'")
    for column in ("classes", "weights, gradients, Adam", *STYLES):
        table.add_column(column, justify="right")
    empty = {name: measured(name, 2, batch, dim)["peak"] for name in STYLES}
    for classes in CLASS_COUNTS:
        cells = []
        for name in STYLES:
            found = measured(name, classes, batch, dim)
            cells.append(f"{1000 * found['seconds']:.1f} ms, {(found['peak'] - empty[name]) / 1e6:,.0f} MB")
        table.add_row(f"{classes:,}", f"{16 * classes * dim / 1e6:,.0f} MB", *cells)
    printer().print(table)


def measured(name: str, classes: int, batch: int, dim: int) -> dict[str, float]:
    arguments = [
        "one",
        "--side",
        name,
        "--classes",
        str(classes),
        "--batch",
        str(batch),
        "--dim",
        str(dim),
        "--rounds",
        "7",
    ]
    command = [sys.executable, "-m", "benchmarks.losses", *arguments]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def accuracy_of_bf16(classes: int, batch: int, dim: int) -> None:
    """Loss and gradients of fp32 and of bf16 products against float64, at the start and after some steps."""
    table = Table(title=f"against float64, {classes:,} classes, K = 3")
    for column in ("weights", "products", "loss: relative error", "embeddings: 1 - cosine", "weight: 1 - cosine"):
        table.add_column(column)
    embeddings, labels = batch_of(classes, batch, dim)
    trained = ours(classes, dim, 3)
    train = step(trained, embeddings, labels, fused=True)
    for when in ("initial", "after 100 steps"):
        found = {}
        for name, loss, x in (
            ("float64", ours(classes, dim, 3).double(), embeddings.detach().double()),
            ("fp32", ours(classes, dim, 3), embeddings.detach()),
            ("bf16", ours(classes, dim, 3, "bf16"), embeddings.detach()),
        ):
            loss.load_state_dict(trained.state_dict())
            value = loss(x.requires_grad_(), labels)
            found[name] = [value.detach().double(), *torch.autograd.grad(value, [x, *loss.parameters()])]
        exact = found.pop("float64")
        for name, (value, *gradients) in found.items():
            apart = [
                1 - F.cosine_similarity(a.double().flatten(), b.flatten(), dim=0).item()
                for a, b in zip(gradients, exact[1:], strict=True)
            ]
            error = abs(value - exact[0]) / exact[0]
            table.add_row(when, name, f"{error:.1e}", *(f"{value:.1e}" for value in apart))
        for _ in range(100):
            train()
    printer().print(table)


if __name__ == "__main__":
    main()
