"""Side-by-side measurements against peers and limits: `make bench`, or one of them: `make bench BENCH=store`."""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as `probe` has it; before PyTorch is loaded, which reads it once
