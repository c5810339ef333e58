"""Training steps that are captured once as a CUDA graph and then replayed: what the launches of a step cost.

Nothing in `probe` does so yet: a captured step may neither wait nor change its shapes, and what a loss or head of
the user's own does is not known. `make gpu` measures whether it is worth it.

steps = CapturedSteps(trainer, rate=0.01)
steps.run(count=200)
"""

import torch

from benchmarks.gpu.world import BATCH
from probe.fit import Trainer

WARM_UP = 3  # steps, in which the libraries load their kernels and the optimizer makes its state


class CapturedSteps:
    """Of a trainer whose batches mix all domains: the same objective, optimizer and generator, at one learning rate."""

    def __init__(self, trainer: Trainer, rate: float) -> None:
        self.trainer, data = trainer, trainer.data
        device = data.device
        self._features, self._labels = data.train.take(torch.arange(len(data.train)).numpy()), data.labels
        self._rows = torch.zeros(BATCH, dtype=torch.int64, device=device)
        for group in trainer.optimizer.param_groups:
            group["capturable"], group["lr"] = True, torch.tensor(rate, device=device)
        trainer.objective.train()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self.draw()
                self.step()
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        self._graph.register_generator_state(trainer.generator)
        with torch.cuda.graph(self._graph):
            self.step()

    def draw(self) -> None:
        self._rows.random_(len(self._features))

    def step(self) -> None:
        objective, optimizer = self.trainer.objective, self.trainer.optimizer
        optimizer.zero_grad()
        objective(self._features[self._rows].float(), self._labels[self._rows], None).backward()
        optimizer.step()

    def run(self, count: int) -> None:
        for _ in range(count):
            self.draw()
            self._graph.replay()
