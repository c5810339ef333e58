"""Blocks that are freed stay with the process, where the C library can be told so."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
{first}
for _ in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(1 << 26, np.uint8).fill(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
KEEP = "from probe.allocator import keep_freed_memory\nassert keep_freed_memory()"
FEW = 8  # page faults; of a block that is mapped anew there are 32 at least, where pages are huge


def faults(first: str, **variables: str) -> int:
    """Of the last of several blocks of 64 MB."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    words = [sys.executable, "-c", FAULTS.format(first=first)]
    return int(subprocess.run(words, env=plain | variables, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_a_block_that_was_freed_is_handed_out_again_without_the_kernel() -> None:
    assert faults(KEEP) < FEW
    assert faults("") > FEW


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_what_the_user_has_set_is_left_alone() -> None:
    leaves = KEEP.replace("assert", "assert not")
    assert faults(leaves, MALLOC_MMAP_MAX_="65536") > FEW
