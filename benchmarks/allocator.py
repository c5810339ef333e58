"""A forward pass whose freed memory is kept for the next batch, as commands do, against one under glibc's own settings.

Each is a process of its own, as the setting is a process's; they run in turn.

make bench BENCH=allocator
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from benchmarks.pairs import compare
from benchmarks.results import Result
from benchmarks.sections import Size

FULL, SMALL = ("mobilenetv1_100", 224, 64), ("test_vit", 160, 4)
CODE = """
import sys
import timm, torch
from probe.allocator import keep_freed_memory
name, px, batch, keep = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "kept"
if keep:
    assert keep_freed_memory(), "the C library is not glibc, or its variables are set"
model = timm.create_model(name, num_classes=0).eval()
with torch.inference_mode():
    for _ in sys.stdin:
        model(torch.randn(batch, 3, px, px))
        print("done", flush=True)
"""


def measure(size: Size) -> Iterator[Result]:
    name, px, batch = SMALL if size.small else FULL
    with ExitStack() as stack:

        def started(memory: str) -> Callable[[], object]:
            words = [sys.executable, "-c", CODE, name, str(px), str(batch), memory]
            pipe = subprocess.PIPE
            process = stack.enter_context(subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, bufsize=1))
            stack.callback(process.kill)
            assert process.stdin
            assert process.stdout

            def forward(tell=process.stdin, hear=process.stdout) -> None:
                tell.write("a batch\n")
                if hear.readline() != "done\n":
                    raise RuntimeError(f"the process whose memory is {memory} has ended")

            return forward

        yield compare(
            f"forward pass of {name}, {batch} images of {px} px, memory kept",
            started("kept"),
            "glibc's own settings",
            started("given back"),
            rounds=size.rounds,
            amount=batch,
            unit="images",
            page="extraction.md#speed",
        )
