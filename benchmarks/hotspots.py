"""Where does one proxy of Tulle spend its time? Asked of perf, if it works here, and of cProfile.

perf sees the kernel, OpenSSL and the interpreter, and disturbs little; cProfile sees Python functions, and
makes small ones look larger than they are; what uvloop's transports do counts there for whoever calls them.
Each watches a load of its own.
"""

import os
import pstats
import re
import shutil
from io import StringIO
from pathlib import Path

import anyio

from benchmarks.messages import Profile
from benchmarks.plan import QUICK, TULLE, Effort
from benchmarks.rows import Rows
from benchmarks.sidecar import DUMP, START, stats_file
from benchmarks.stand import Stand, StandFailed
from common.config import environment

_SHOWN = 40
_SORTINGS = (("what it runs in", "dso"), ("function", "dso,symbol"))


async def profile(stand: Stand, order: Profile) -> bytes:
    """Put the proxy under the row's load and print where its time goes; raises StandFailed."""
    await stand.bring_up(peers=False)
    pid = getattr(stand.pairs["tulle"], order.side)
    seconds = order.seconds
    rows = Rows(stand, _lasting(seconds))
    await rows.warm(order.row, TULLE)
    plain = await rows.measure(order.row, TULLE)
    cost = " ".join(f"{name}={value:.4g}" for name, value in plain.items())
    native = await _perf(rows, order.row, pid, seconds)
    python = await _python(rows, order.row, pid)
    return f"{order.side} proxy under {order.row}: {cost}\n\n{native}\n{python}".encode()


def _lasting(seconds: int) -> Effort:
    return Effort(
        rounds=QUICK.rounds, load=seconds, bulk=seconds, handshakes=seconds, steady=seconds
    )


async def _python(rows: Rows, row: str, pid: int) -> str:
    os.kill(pid, START)
    await rows.measure(row, TULLE)
    os.kill(pid, DUMP)
    for _ in range(100):
        await anyio.sleep(0.1)
        if stats_file(pid).exists():
            said = StringIO()
            found = pstats.Stats(str(stats_file(pid)), stream=said)
            found.strip_dirs().sort_stats("tottime").print_stats(_SHOWN)
            return said.getvalue()
    raise StandFailed("the profile was not written")


async def _perf(rows: Rows, row: str, pid: int, seconds: int) -> str:
    """perf's tables, or why there are none."""
    if not shutil.which("perf", path=environment().get("PATH")):
        return "perf is not on this machine: sudo apt-get install linux-perf\n"
    data = Path(f"/run/perf-{pid}.data")
    argv = ["perf", "record", "-q", "-F", "1999", "-g", "-o", str(data), "-p", str(pid)]
    async with anyio.create_task_group() as group:
        group.start_soon(rows.measure, row, TULLE)
        done = await anyio.run_process(
            [*argv, "--", "sleep", str(max(1, seconds - 1))], check=False
        )
    if done.returncode:
        return f"perf does not work here: {done.stderr.decode(errors='replace').strip()[:300]}\n"
    return "\n".join([await _report(data, name, keys) for name, keys in _SORTINGS])


async def _report(data: Path, name: str, keys: str) -> str:
    argv = ["perf", "report", "--stdio", "--no-children", "-g", "none", "-q", "--sort", keys]
    argv += ["--percent-limit", "0.9"]
    done = await anyio.run_process([*argv, "-i", str(data)], check=False)
    lines = [line.rstrip() for line in done.stdout.decode(errors="replace").splitlines()]
    shown = [re.sub(r"\s{3,}[-\s]*$|(?<=\S)\s{3,}", "   ", line) for line in lines if line.strip()][
        :_SHOWN
    ]
    return "\n".join([f"perf, by {name}:", *shown, ""])
