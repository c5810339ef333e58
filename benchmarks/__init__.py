"""Side-by-side measurements against peers and limits: `make bench`, or one of them: `make bench BENCH=store`."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line has it
