"""One holder among several replicas, everywhere in Tulle: a key with a time to live on the bus.

Law: two replicas never both believe they hold it. The holder stops before its key can run out, and each
of its renewals names the revision it wrote last, so that a key that changed hands is noticed.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from secrets import token_hex

import anyio

from common.bus import Bus
from common.bus.keys import Key
from common.clock import Clock, SystemClock
from common.contract.subjects import LEASES
from common.errors import BusUnavailable, RevisionConflict
from common.latest import Latest
from common.log import fields

log = logging.getLogger(__name__)

# Shares of the time to live:
_RENEW = 0.25
_RETRY = 0.08
_TRUST = 0.75
"""A holder that could not renew for so long no longer believes that it holds."""
_LEAVE_SECONDS = 1.0


class Lease:
    """The lease `name`, wanted by the replica called `holder`; `ttl` seconds, in whole ones."""

    def __init__(
        self, bus: Bus, name: str, holder: str, *, ttl: float = 10.0, clock: Clock | None = None
    ) -> None:
        self.held = Latest(False)
        self._key = Key(bus, LEASES, name)
        self._bus = bus
        self._name = name
        # A process that comes back under the same name is not the one that held it.
        self._holder = f"{holder}#{token_hex(4)}"
        self._ttl = max(2, round(ttl))
        self._clock = clock or SystemClock()
        self._revision = 0

    async def run(self, while_holding: Callable[[], Awaitable[None]]) -> None:
        """Contend for ever; whenever the lease is ours, run `while_holding`, cancelled when it is lost.

        Returns when `while_holding` does. However this ends, a lease that is held is released.
        """
        while True:
            written = await self._acquire()
            log.info("lease acquired", extra=fields(lease=self._name, holder=self._holder))
            if await self._hold(while_holding, written):
                return
            log.warning("lease lost", extra=fields(lease=self._name, holder=self._holder))

    async def _acquire(self) -> float:
        """Try until it is ours; returns when it was written, on the monotonic clock."""
        while True:
            written = self._clock.monotonic()
            try:
                found = await self._key.look()
                if found.value in ("", self._holder):
                    self._revision = await self._key.write(
                        self._holder, expected=found.revision, ttl=self._ttl
                    )
                    return written
            except (RevisionConflict, BusUnavailable) as error:
                log.debug("lease not acquired", extra=fields(lease=self._name, error=str(error)))
            # A released lease is soon taken; contenders do not ask all at once.
            await anyio.sleep(self._ttl * _RENEW * (0.5 + 0.5 * self._clock.random()))

    async def _hold(self, while_holding: Callable[[], Awaitable[None]], written: float) -> bool:
        """True if `while_holding` returned by itself, False if the lease was lost before."""
        finished = False

        async def work() -> None:
            nonlocal finished
            await while_holding()
            finished = True
            group.cancel_scope.cancel()

        self.held.set(True)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(work)
                await self._renew(written)
                group.cancel_scope.cancel()
        finally:
            self.held.set(False)
            await self._release()
        return finished

    async def _renew(self, written: float) -> None:
        """Renew until the lease is somebody else's, or could not be renewed for too long."""
        wait = _RENEW
        while (left := written + self._ttl * _TRUST - self._clock.monotonic()) > 0:
            renewed = None
            with anyio.move_on_after(left):
                await anyio.sleep(self._ttl * wait)
                began = self._clock.monotonic()
                renewed = await self._write_again()
            if renewed:
                written, wait = began, _RENEW
            elif renewed is False:
                return
            else:
                wait = _RETRY

    async def _write_again(self) -> bool | None:
        """True if it is written, False if it is somebody else's now, None if that cannot be told."""
        try:
            self._revision = await self._key.write(
                self._holder, expected=self._revision, ttl=self._ttl
            )
            return True
        except BusUnavailable:
            return None
        except RevisionConflict:
            # An earlier renewal whose answer was lost may have been written all the same.
            return await self._look_again()

    async def _look_again(self) -> bool | None:
        try:
            found = await self._key.look()
        except BusUnavailable:
            return None
        if found.value != self._holder:
            return False
        self._revision = found.revision
        return None

    async def _release(self) -> None:
        with (
            anyio.move_on_after(_LEAVE_SECONDS, shield=True),
            suppress(BusUnavailable, RevisionConflict),
        ):
            await self._key.delete(expected=self._revision)
