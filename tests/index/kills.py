"""Kills a process that changes an index, again and again, and checks after each kill that the index is whole.

Loaded once, it forks a process for each try. It must never use Polars or threads of its own, which do not survive a
fork. A step puts rows, one of which says which step it is, then removes some, then compacts, and fits where the index
has a projection of its own.

    python -m tests.index.kills FOLDER SEED KILLS [fitted]     # prints how many steps there are, and how many kills
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import torch

from probe.index import Index
from probe.index.projection import write_projection
from probe.index.writer import writing

DIM = 4
PROJECTED = 2  # dimensions of them that a fitted index has
STEP = "step"
Rows = dict[str, tuple[int, ...]]


def main(home: Path, seed: int, kills: int, fitted: bool) -> None:
    torch.set_num_threads(1)
    chance = Random(seed)
    in_process(lambda: create(home / "index", fitted))
    started = time.monotonic()
    in_process(lambda: change(home / "index", seed, steps=2))
    usual = time.monotonic() - started
    killed = 0
    for _ in range(kills):
        child = os.fork()
        if not child:
            end(lambda: change(home / "index", seed))
        time.sleep(chance.uniform(0, 1.5 * usual))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "it ended by itself"
        killed += 1
        in_process(lambda: check(home / "index", seed))
    in_process(lambda: finish(home / "index", seed))
    print(killed)


def create(path: Path, fitted: bool) -> None:
    index = Index.create(path, dim=PROJECTED if fitted else DIM)
    if fitted:
        fit = write_projection(path, "000000.projection", np.eye(PROJECTED, DIM), rows=0)
        index.manifest.model_copy(update={"fit": fit}).write(path)


def rows_of_step(seed: int, step: int) -> Rows:
    chance = Random(f"{seed} {step}")
    ids = chance.sample([f"{number:02}" for number in range(40)], chance.randint(1, 25))
    return {image: tuple(chance.choices(range(1, 9), k=DIM)) for image in ids} | {STEP: (step + 1, 1, 1, 1)}


def removed_in_step(seed: int, step: int, rows: Rows) -> list[str]:
    chance = Random(f"{seed} {step} removed")
    return chance.sample(there := sorted(rows.keys() - {STEP}), chance.randint(0, len(there) // 2))


def states(seed: int, last: int) -> tuple[Rows, Rows]:
    """What there is within the last step: after rows were put, and after others were removed."""
    put: Rows = {}
    left: Rows = {}
    for step in range(last + 1):
        put = left | rows_of_step(seed, step)
        removed = removed_in_step(seed, step, put)
        left = {image: row for image, row in put.items() if image not in removed}
    return put, left


def content(index: Index) -> Rows:
    ids = index.frame["id"].to_list()
    return dict(zip(ids, (tuple(map(int, row)) for row in index.state.embeddings(ids)), strict=True))


def step_of(rows: Rows) -> int:
    return rows[STEP][0] - 1 if rows else -1


def change(path: Path, seed: int, steps: int = 1_000_000) -> None:
    index = Index.open(path)
    step = step_of(rows := content(index))
    for _ in range(steps):
        if step >= 0:
            index.remove([image for image in removed_in_step(seed, step, states(seed, step)[0]) if image in rows])
            if step % 3 == 0:
                index.compact()
            if index.manifest.fit:
                with writing(path) as writer:
                    if writer.has_enough:
                        writer.fit()
        step += 1
        new = rows_of_step(seed, step)
        index.add_vectors(list(new), np.array(list(new.values()), np.float32))
        rows = content(index)


def check(path: Path, seed: int) -> None:
    index = Index.open(path)
    index.verify()
    rows = content(index)
    if index.state.projection and rows:
        ids = list(rows)
        expected = index.state.projection.of(index.state.embeddings(ids).astype(np.float16))
        assert index.vectors(ids).tobytes() == expected.tobytes(), "vectors of another projection"
    assert rows in (({}, {}) if not rows else states(seed, step_of(rows))), "neither before nor after a change"


def finish(path: Path, seed: int) -> None:
    """Prints the last step; the next writer leaves no file that is not of the index."""
    index = Index.open(path)
    rows = content(index)
    print(step_of(rows))
    index.add_vectors(["last"], np.ones((1, DIM), np.float32))
    named = {*index.manifest.files, "manifest.json"}
    assert {file.name for file in path.iterdir()} == named
    assert content(index) == rows | {"last": (1,) * DIM}


def in_process(work: Callable[[], object]) -> None:
    child = os.fork()
    if not child:
        end(work)
    _, status = os.waitpid(child, 0)
    assert status == 0, "what is said above"


def end(work: Callable[[], object]) -> None:
    try:
        work()
        sys.stdout.flush()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:] == ["fitted"])
