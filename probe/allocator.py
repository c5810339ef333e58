"""Memory that glibc keeps for the next batch. Left to itself it returns every large block to the system when it is
freed, and half of a forward pass on a virtual machine is then the kernel, which hands out the same pages anew.

keep_freed_memory()     # where a command or a process of its own starts
"""

import ctypes
import os

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of malloc.h
OPTIONS = {MMAP_MAX: 0, TRIM_THRESHOLD: -1}  # no block is mapped by itself; the heap is never trimmed
ENVIRONMENT = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")


def keep_freed_memory() -> bool:
    """For this process and those that it forks; whether it is so. Not where the C library is another than glibc, nor
    where the user has set one of its variables."""
    if any(name in os.environ for name in ENVIRONMENT):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all(mallopt(option, value) for option, value in OPTIONS.items())
