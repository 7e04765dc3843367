"""What processes hold over time: resident memory and open descriptors, a sample a second."""

import contextlib
import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

import anyio

PAGE = os.sysconf("SC_PAGE_SIZE")
SAMPLE_SECONDS = 1.0


class Sample(NamedTuple):
    """What a process holds."""

    resident: int
    """Bytes."""
    descriptors: int


class Growth(NamedTuple):
    """From the second third of a process's samples to the last third: medians."""

    resident: float
    """Bytes."""
    descriptors: float
    holds: Sample
    seconds: int


class Watched:
    """Samples of processes by name; one that was started anew is another."""

    def __init__(self, processes: Callable[[], Mapping[str, int]]) -> None:
        self._processes = processes
        self._samples: defaultdict[tuple[str, int], list[Sample]] = defaultdict(list)

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            for name, pid in self._processes().items():
                with contextlib.suppress(OSError):
                    self._samples[name, pid].append(sample(pid))
            await anyio.sleep(SAMPLE_SECONDS)

    def growth(self, name: str) -> Growth:
        """Of the process of that name which lived longest."""
        samples = max((s for (n, _), s in self._samples.items() if n == name), key=len)
        third = len(samples) // 3
        middle, last = samples[third : 2 * third], samples[2 * third :]
        assert middle, f"{name}: {len(samples)} samples"
        return Growth(
            median(s.resident for s in last) - median(s.resident for s in middle),
            median(s.descriptors for s in last) - median(s.descriptors for s in middle),
            samples[-1],
            len(samples),
        )


def sample(pid: int) -> Sample:
    """What a process holds now; raises OSError if it is gone."""
    process = Path(f"/proc/{pid}")
    pages = int((process / "statm").read_text().split()[1])
    return Sample(pages * PAGE, len(os.listdir(process / "fd")))
