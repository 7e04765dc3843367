"""`python -m benchmarks.inside`: the inner side of a run, in namespaces of its own.

Reads an Order from standard input, tells on standard error how it goes, and prints a Record or a profile.
It is the first process of its process namespace: when it ends, the kernel ends every other. All files are
in a memory file system of its mount namespace, and gone with it.
"""

import resource
import subprocess
import sys
from pathlib import Path

import anyio
import msgspec

from benchmarks import hotspots
from benchmarks.messages import Order
from benchmarks.rounds import Rounds
from benchmarks.stand import Stand, StandFailed
from common.config import environment
from demo.programs import clean

_ROOT = Path("/run/tulle-bench")
_DESCRIPTORS = 16_384


async def main(order: Order) -> bytes:
    """Carry out the order; what to print. Raises StandFailed."""
    async with anyio.create_task_group() as tasks:
        stand = Stand(tasks, _ROOT, order.tools, clean(environment()))
        try:
            if order.profile:
                return await hotspots.profile(stand, order.profile)
            await stand.bring_up()
            rounds = Rounds(stand, order.effort)
            await rounds.run(order.rows)
            stand.check()
            return msgspec.json.encode(rounds.record)
        finally:
            with anyio.CancelScope(shield=True):
                await stand.stop()
    raise AssertionError("unreachable")  # mypy: a task group may swallow its own cancellation


def prepare() -> None:
    """A place for files that nobody else sees, and enough descriptors for everybody."""
    subprocess.run(["mount", "-t", "tmpfs", "tulle", "/run"], check=True)
    _ROOT.mkdir(mode=0o700)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def failure(errors: BaseException) -> StandFailed | None:
    """The StandFailed in there, if there is nothing else."""
    while isinstance(errors, BaseExceptionGroup) and len(errors.exceptions) == 1:
        errors = errors.exceptions[0]
    return errors if isinstance(errors, StandFailed) else None


if __name__ == "__main__":
    prepare()
    told = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    try:
        sys.stdout.buffer.write(anyio.run(main, told, backend_options={"use_uvloop": True}))
    except BaseException as error:
        expected = failure(error)
        if expected is None:
            raise
        sys.exit(f"bench: {expected}")
