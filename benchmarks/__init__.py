"""Side-by-side measurements against peers and limits: `make bench`, or one of them: `make bench BENCH=store`."""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line has it
