"""Watches a rotation, of the anchor or of keys, until it is done or gets no further."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import anyio
import msgspec

from cli.output import note
from common.bus import Bus
from common.clock import SystemClock
from common.contract.identity import Waiting
from common.contract.topic import Question
from common.errors import BusUnavailable


class Watchable(Protocol):
    """What both kinds of rotation tell."""

    @property
    def phase(self) -> str:
        """`steady`, or how far it is."""
        ...

    @property
    def waiting(self) -> tuple[Waiting, ...]:
        """Whom it waits for."""
        ...

    @property
    def left_behind(self) -> tuple[str, ...]:
        """Whom it does not."""
        ...

    @property
    def trouble(self) -> str:
        """What else it waits for."""
        ...


Q = TypeVar("Q", bound=msgspec.Struct)
A = TypeVar("A", bound=msgspec.Struct)
R = TypeVar("R", bound=Watchable)

_ANSWER_SECONDS = 20.0
_LOOK_SECONDS = 0.5
_LAST_SECONDS = 10.0


async def ask(
    bus: Bus, question: Question[Q, A], message: Q, *, timeout: float = _ANSWER_SECONDS
) -> A:
    """Ask identity. Raises BusUnavailable that says what to look at, Refused or InvalidMessage."""
    try:
        return await bus.request(question, message, timeout=timeout)
    except BusUnavailable as error:
        raise BusUnavailable(f"{error}; is identity running?") from None


async def watched(
    status: Callable[[], Awaitable[R]],
    line: Callable[[R], str],
    done: Callable[[R], bool],
    patience: float,
) -> tuple[R, bool]:
    """Watch until it is `done` and nobody is waited for; or until nothing moved for `patience` seconds.

    Every move is told as a `line`. Says how it is then, and whether it is done. Raises BusUnavailable if there
    was no answer for so long.
    """
    seen: tuple[str, str, frozenset[str]] | None = None
    moved = SystemClock.monotonic()
    left: frozenset[str] = frozenset()
    while True:
        try:
            now = await status()
        except BusUnavailable:
            # The next replica of identity goes on in a few seconds.
            if SystemClock.monotonic() - moved > patience:
                raise
            await anyio.sleep(_LOOK_SECONDS)
            continue
        waiting = frozenset(one.name for one in now.waiting)
        if done(now):
            # Everybody says once more what is in force, now that nothing is under way.
            if waiting <= left or SystemClock.monotonic() - moved > _LAST_SECONDS:
                return now, True
            await anyio.sleep(_LOOK_SECONDS)
            continue
        left = frozenset(now.left_behind)
        if (now.phase, now.trouble, waiting) != seen:
            if seen is None or (now.phase, waiting) != (seen[0], seen[2]):
                moved = SystemClock.monotonic()
            seen = now.phase, now.trouble, waiting
            note(line(now))
        if SystemClock.monotonic() - moved > patience:
            return now, False
        await anyio.sleep(_LOOK_SECONDS)
