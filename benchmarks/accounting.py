"""What the operating system says that a process has used."""

import re
import time
from collections.abc import Iterable
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, in user and in kernel mode, with all its threads.

    The same account as utime + stime in proc_pid_stat(5), in nanoseconds instead of hundredths of seconds.
    """
    # clock_getcpuclockid(3), which Python has for threads only: ~pid, three bits of kind, 2 is the scheduler's.
    return time.clock_gettime(~pid << 3 | 2)


def resident_mb(pids: Iterable[int]) -> float:
    """Resident memory of processes together, in units of 10⁶ bytes."""
    return sum(_resident_kb(Path(f"/proc/{pid}/status").read_text()) for pid in pids) * 1024 / 1e6


def peak_mb(pid: int) -> float:
    """The most resident memory that a process ever had, in units of 10⁶ bytes."""
    return _kb(Path(f"/proc/{pid}/status").read_text(), "VmHWM") * 1024 / 1e6


def _resident_kb(status: str) -> int:
    return _kb(status, "VmRSS")


def _kb(status: str, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.M)
    return int(found.group(1)) if found else 0
