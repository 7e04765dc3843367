"""Publishes whom the mesh trusts, if that is not what everybody has read already."""

import logging
from collections.abc import Awaitable, Callable

import anyio

from common.backoff import Backoff
from common.bus import Bus
from common.bus.streams import ensure
from common.clock import Clock
from common.contract import subjects
from common.contract.identity import TrustBundle
from common.contract.topic import Document, State
from common.errors import BusUnavailable, InvalidMessage, RevisionConflict
from common.lease import Lease
from common.log import fields
from services.identity.journal import Journal

log = logging.getLogger(__name__)

AGAIN_SECONDS = 30.0
"""How often to see to it that the bundle is still there: a stream can be lost."""


class Bundle:
    """Keeps the trust bundle on the bus equal to `current`, by the one replica that holds the lease."""

    def __init__(
        self,
        bus: Bus,
        lease: Lease,
        current: Callable[[], TrustBundle],
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._bus = bus
        self._lease = lease
        self._current = current
        self._journal = journal
        self._backoff = Backoff(clock)

    async def run(self) -> None:
        """Contend for the lease; while it is held, publish, and look again every AGAIN_SECONDS."""
        await self._until_done(self._prepare)
        await self._lease.run(self._keep)

    async def _keep(self) -> None:
        while True:
            await self._until_done(self.publish)
            await anyio.sleep(AGAIN_SECONDS)
            await self._until_done(self._prepare)

    async def _prepare(self) -> None:
        await self._bus.wait_connected()
        await ensure(self._bus)

    async def _until_done(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except (BusUnavailable, RevisionConflict) as error:
                log.warning("trust bundle not published", extra=fields(error=str(error)))
                await anyio.sleep(self._backoff.next())
            else:
                self._backoff.reset()
                return

    async def publish(self) -> None:
        """Write the bundle over what is there, if it differs.

        Raises BusUnavailable, and RevisionConflict if somebody else wrote meanwhile.
        """
        wanted, state = self._current(), subjects.trust()
        try:
            found = await self._bus.get(state)
            if found is not None and found.message == wanted:
                return
            revision = found.revision if found else 0
        except InvalidMessage:
            revision = await self._revision_of_damage()
        revision = await self._bus.put(state, wanted, expected=revision)
        await self._journal.tell(
            "trust-published",
            f"{len(wanted.anchors)} trust anchors of {wanted.trust_domain}",
            revision=str(revision),
        )

    async def _revision_of_damage(self) -> int:
        """What is there is no trust bundle: it is written over all the same."""
        anything = State(subjects.trust().stream, subjects.trust().subject, Document)
        try:
            found = await self._bus.get(anything)
        except InvalidMessage as error:
            raise BusUnavailable(f"what is there is no document: {error}") from None
        return found.revision if found else 0
