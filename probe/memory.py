"""How much memory is free, on a device and in the machine, and how much of it features may take.

share, reason = feature_budget(torch.device("cpu"))
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MARGIN = 0.6  # of what is free; the rest is for the class matrix, its gradients and moments, the search, other programs
MEMINFO = Path("/proc/meminfo")
CGROUPS = (  # limit and use, of version 2 and version 1
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


def feature_budget(device: "torch.device", processes: int = 1, devices: int = 1) -> dict[str, int]:
    """Bytes that features may take on the device (0 for the CPU) and in the machine, for each of some processes, which
    share so many devices of a kind."""
    on_device = _free_on_device(device) / -(-processes // devices)
    return {"device": int(MARGIN * on_device), "host": int(MARGIN * free_memory() / processes)}


def free_memory() -> int:
    """Bytes of the machine, or of the container, that programs can still take."""
    try:
        lines = dict(line.split(":") for line in MEMINFO.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # half of all where it is not told
    return min([free, *_left_in_container()])


def _left_in_container() -> list[int]:
    left = []
    for limit, used in CGROUPS:
        try:
            left.append(max(0, int(limit.read_text()) - int(used.read_text())))
        except (OSError, ValueError):  # no such group, or the limit is "max"
            continue
    return left


def _free_on_device(device: "torch.device") -> int:
    import torch

    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
