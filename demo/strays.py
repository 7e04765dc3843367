"""No process outlives the demo, whoever dies first."""

import ctypes
import os
import signal
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> Callable[[], None]:
    """For Popen's `preexec_fn`: the kernel kills the child when the thread that started it ends.

    In the child there is one call into libc and nothing else, so the fork is safe (prctl(2)).
    """
    parent = os.getpid()

    def before_exec() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return before_exec


def adopt() -> None:
    """Become the parent of every descendant whose own parent ends, such as daemons."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def bury() -> None:
    """Kill every child that is left, and whatever is adopted meanwhile, until there is none."""
    while children := _children():
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            os.waitpid(pid, 0)


def _children() -> list[int]:
    """Process ids of this process's children; none where the kernel does not tell."""
    found: list[int] = []
    for listing in Path("/proc/self/task").glob("*/children"):
        found += map(int, listing.read_text().split())
    return found
