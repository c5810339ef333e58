"""Features on their way to the GPU: a store of M4D-35k's size into its memory, and an epoch over features that stay in
the machine's memory, of which each step copies a batch, against one over features on the GPU.

python -m benchmarks.sections benchmarks.gpu.streaming --device cuda
"""

from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.gpu.world import BATCH, config, finish, stored
from benchmarks.pairs import compare
from benchmarks.results import Result
from benchmarks.sections import Size
from probe.fit import FitData, Trainer
from probe.memory import feature_budget


def measure(size: Size) -> Iterator[Result]:
    device = torch.device(size.device)
    budget = feature_budget(device)
    steps, rounds = (4 if size.small else 200), min(size.rounds, 3)
    with stored(size.small) as features:
        frame = features.frame("train")
        loaded = features.load(frame)

        def load() -> None:
            FitData(features, device, budget)
            finish(device)

        def copy() -> None:
            torch.from_numpy(np.array(loaded)).to(device)
            finish(device)

        gigabytes = {"amount": loaded.nbytes / 1e9, "unit": "GB"}
        work = f"store to {size.device}, {len(loaded):,} x {loaded.shape[1]:,} float16, checked and joined"
        yield compare(work, load, "a copy of the same bytes in memory", copy, rounds=rounds, **gigabytes)

        there = FitData(features, device, budget)
        here = FitData(features, device, budget | {"device": 0})
        trained = {place: Trainer(config(steps), data) for place, data in (("there", there), ("here", here))}

        def train(place: str) -> None:
            trained[place].train()
            finish(device)

        batches = {"amount": steps * BATCH * loaded[0].nbytes / 1e9, "unit": "GB"}
        work = f"{steps} steps, features in the machine's memory"
        yield compare(
            work, lambda: train("here"), f"on {size.device}", lambda: train("there"), rounds=rounds, **batches
        )
