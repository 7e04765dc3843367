"""`python -m benchmarks.sidecar`: a proxy as its image has it, which can be profiled by signals.

The virtual environment of a checkout holds aiohttp for other parts of Tulle, and nats-py imports it wherever
it is installed. The sidecar's image does not hold it, so neither does this process.

SIGUSR1 starts cProfile, SIGUSR2 stops it and writes what it saw; without them it costs nothing.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

START, DUMP = signal.SIGUSR1, signal.SIGUSR2
_NOT_IN_THE_IMAGE = ("aiohttp",)


def stats_file(pid: int) -> Path:
    """Where a process writes what it saw."""
    return Path(f"/run/tulle-profile-{pid}")


class Watch:
    """Turns profiling on and off."""

    def __init__(self) -> None:
        self._profile: Any = None
        signal.signal(START, self._start)
        signal.signal(DUMP, self._dump)

    def _start(self, _number: int, _frame: FrameType | None) -> None:
        from cProfile import Profile  # not before it is wanted: memory is measured

        self._profile = Profile()
        self._profile.enable()

    def _dump(self, _number: int, _frame: FrameType | None) -> None:
        self._profile.disable()
        whole = stats_file(os.getpid())
        part = whole.with_suffix(".part")
        self._profile.dump_stats(str(part))
        part.replace(whole)


if __name__ == "__main__":
    sys.modules.update(dict.fromkeys(_NOT_IN_THE_IMAGE))  # type: ignore[arg-type]  # import fails
    from common.lifecycle import run
    from proxy.app import main

    Watch()
    run(main)
