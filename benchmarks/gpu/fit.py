"""A fit of M4D-35k's size (328,400 x 1,152, 34,800 classes, three centres each): steps against
pytorch-metric-learning's in turn, then ten epochs as a whole.

python -m benchmarks.sections benchmarks.gpu.fit --device cuda
"""

import statistics
from collections.abc import Iterator

import torch

from benchmarks.gpu.captured import CapturedSteps
from benchmarks.gpu.world import BATCH, EPOCHS, RATE, by_peer, config, finish, stored
from benchmarks.pairs import compare, compare_all, timed
from benchmarks.results import Comparison, Figure, Result
from benchmarks.sections import Size
from probe.fit import FitData, Trainer
from probe.memory import feature_budget

GOAL = 30.0  # seconds
PEER = "pytorch-metric-learning, torch Adam"


def measure(size: Size) -> Iterator[Result]:
    device = torch.device(size.device)
    steps = 4 if size.small else 200
    with stored(size.small) as features:
        data = FitData(features, device, feature_budget(device))
        rows = data.train.take(torch.arange(len(data.train)).numpy())
        what = f"fit, {len(rows):,} x {rows.shape[1]:,}, {data.classes:,} classes, K = 3"

        def train(trainer: Trainer) -> None:
            trainer.train()
            finish(device)

        some = Trainer(config(steps), data)
        peers = {PEER: by_peer(rows, data.labels, steps)}
        told = {"amount": steps, "unit": "steps", "target": 2.5}
        (step,) = compare_all(f"{what}: {steps} steps", lambda: train(some), peers, rounds=size.rounds, **told)
        yield step
        yield Figure(what="a step", value=1000 * statistics.median(step.ours) / steps, unit="ms")
        whole = Trainer(config(), data)
        ours = [timed(lambda: train(whole))]
        theirs = [statistics.median(step.theirs) / steps * whole.plan.steps]
        yield Comparison(
            work=f"{what}: {EPOCHS} epochs",
            against=f"{PEER}, at the rate of {steps} steps",
            ours=ours,
            theirs=theirs,
            goal=GOAL,
            amount=whole.plan.steps * BATCH,
            unit="images",
        )
        if device.type == "cuda":
            replayed = CapturedSteps(Trainer(config(steps), data), RATE)

            def replay() -> None:
                replayed.run(steps)
                finish(device)

            work = f"{what}: {steps} steps, replayed as a CUDA graph"
            yield compare(work, replay, "probe", lambda: train(some), rounds=size.rounds, amount=steps, unit="steps")
            yield Figure(what="peak memory on the GPU", value=torch.cuda.max_memory_allocated() / 1e9, unit="GB")
