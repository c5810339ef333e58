"""The peak of this program's memory, as Linux remembers it; what getrusage tells includes its parent's.

reset_peak()
work()
print(peak_bytes())
"""

from pathlib import Path


def peak_bytes() -> int:
    """Since the program's start, or since `reset_peak`."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def reset_peak() -> None:
    """The peak is what is used now."""
    Path("/proc/self/clear_refs").write_text("5")
