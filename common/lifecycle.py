"""How a program of Tulle starts, runs and stops.

    async def main(stop: Stop) -> None:
        settings = config.load(Settings)
        async with Bus(…) as bus, anyio.create_task_group() as group:
            group.start_soon(…)
            await stop.wait()           # SIGTERM or SIGINT: time to drain
            group.cancel_scope.cancel()

    if __name__ == "__main__":
        run(main)

The first signal asks; the second does not: everything is cancelled, and what must be tidied up has a few
seconds; a third ends the process where it stands. Exit status: 0 it ended in good order, 1 it failed, 2 its
settings are wrong, 130 and 143 it was cut short by a second signal.
"""

import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import NoReturn

import anyio

from common.errors import InvalidSettings, MeshError
from common.log import fields

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Whether somebody wants the program to end."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    @property
    def requested(self) -> bool:
        """True from the first signal or `request` on."""
        return self._event.is_set()

    def request(self) -> None:
        """Ask the program to end in good order, as a signal does."""
        self._event.set()

    async def wait(self) -> None:
        """Wait until the program is to end."""
        await self._event.wait()


def process_name() -> str:
    """What this process is called among the replicas of a service: `HOST:PID`."""
    return f"{socket.gethostname()}:{os.getpid()}"


def run(main: Callable[[Stop], Awaitable[None]]) -> NoReturn:
    """Run a program on uvloop until `main` returns; exits the process with the status that tells how."""
    sys.exit(status_of(main))


def status_of(main: Callable[[Stop], Awaitable[None]]) -> int:
    """Run a program as `run` does, and return its exit status.

    What a person can put right (InvalidSettings, any other MeshError) is told in plain lines on standard
    error; a bug comes with its traceback.
    """
    cut_short: list[int] = []
    try:
        anyio.run(_supervise, main, cut_short, backend_options={"use_uvloop": True})
    except BaseException as error:
        return _tell(error)
    return 128 + cut_short[0] if cut_short else 0


async def _supervise(main: Callable[[Stop], Awaitable[None]], cut_short: list[int]) -> None:
    stop = Stop()
    everything = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        await group.start(_heed_signals, stop, everything, cut_short)
        with everything:
            await main(stop)
        group.cancel_scope.cancel()


async def _heed_signals(
    stop: Stop,
    everything: anyio.CancelScope,
    cut_short: list[int],
    *,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    with anyio.open_signal_receiver(*_SIGNALS) as signals:
        task_status.started()
        async for number in signals:
            name = signal.Signals(number).name
            if cut_short:
                os._exit(128 + number)
            if stop.requested:
                log.warning("stopping at once", extra=fields(signal=name))
                cut_short.append(number)
                everything.cancel()
            else:
                log.info("stopping", extra=fields(signal=name))
                stop.request()


def _tell(error: BaseException) -> int:
    """Say what ended the program, and return its exit status."""
    causes = list(_leaves(error))
    if all(isinstance(cause, SystemExit) for cause in causes):
        raise error
    if not all(isinstance(cause, MeshError) for cause in causes):
        logging.getLogger().error("the program failed", exc_info=error)
        return 1
    for line in dict.fromkeys(str(cause) for cause in causes):
        sys.stderr.write(line + "\n")
    return 2 if any(isinstance(cause, InvalidSettings) for cause in causes) else 1


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
