"""What a piece of work costs this process."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def cpu_seconds() -> Iterator[Callable[[], float]]:
    """Gives a function that says how many seconds of CPU were spent since, whatever else the machine does."""
    began = time.process_time()
    yield lambda: time.process_time() - began


def least(work: Callable[[], float]) -> float:
    """The least that `work` says in three runs: what it costs when nothing disturbs it."""
    return min(work() for _ in range(3))
