"""Which join tokens were used: remembered on the bus, so that all replicas know, also after a restart.

A token opens the door once. Whoever was cut off between the door and the certificate has nothing else to
show, though: so for AGAIN_SECONDS it opens again, to the host from which it was used first.
"""

import hashlib
import logging
from typing import Protocol

import anyio
import msgspec

from common.backoff import Backoff
from common.bus import Bus
from common.bus.keys import Key
from common.bus.streams import OF_IDENTITY, ensure
from common.clock import Clock
from common.contract.subjects import TOKENS
from common.errors import BusUnavailable, InvalidToken, RevisionConflict
from common.jwt import SKEW
from common.log import fields

log = logging.getLogger(__name__)

AGAIN_SECONDS = 120.0
"""How long after its first use a token may be shown again, from the same host."""
PATIENCE_SECONDS = 5.0
"""How long a newcomer waits for a bus that cannot remember now: NATS would wait for 30 s."""
_LOOK_AGAIN_SECONDS = 0.2
PREPARE_SECONDS = 30.0
"""How often to see to it that the bucket is still there."""


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """The first use of a token."""

    host: str
    """Where the connection came from, as NATS saw it."""
    time: float


class Ledger(Protocol):
    """Remembers the first use of each token, for all who ask."""

    async def first(self, token: str, use: Use, until: float) -> Use:
        """The first use of `token` (its id), which is `use` if there was none; kept until the time given.

        Raises BusUnavailable if that cannot be known now.
        """
        ...


async def spend(ledger: Ledger, token: str, host: str, now: float, expires: float) -> None:
    """Use a token, once; raises InvalidToken if it was used before, BusUnavailable if nobody can tell."""
    first = await ledger.first(token, Use(host=host, time=now), expires + SKEW)
    if first.host != host:
        raise InvalidToken(f"join token: was used {now - first.time:.0f} s ago, by another host")
    if now - first.time > AGAIN_SECONDS:
        raise InvalidToken(f"join token: was used {now - first.time:.0f} s ago; it attests once")


class Spent:
    """The ledger on the bus: a key for each token, written by compare-and-set, gone when the token ends."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        patience: float = PATIENCE_SECONDS,
        again: float = PREPARE_SECONDS,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._patience = patience
        self._again = again

    async def run(self) -> None:
        """Make sure of the bucket, now and again, for ever: a stream can be lost."""
        while True:
            await self.prepare()
            await anyio.sleep(self._again)

    async def prepare(self) -> None:
        """Make sure of the bucket, however long that takes."""
        backoff = Backoff(self._clock)
        while True:
            await self._bus.wait_connected()
            try:
                await ensure(self._bus, OF_IDENTITY)
            except BusUnavailable as error:
                log.warning("no bucket for join tokens", extra=fields(error=str(error)))
                await anyio.sleep(backoff.next())
            else:
                return

    async def first(self, token: str, use: Use, until: float) -> Use:
        """See Ledger; waits a little for a bus that is not there."""
        # An id is whatever the issuer wrote; its digest is one word of a subject.
        key = Key(self._bus, TOKENS, hashlib.sha256(token.encode()).hexdigest()[:32])
        ends = self._clock.monotonic() + self._patience
        while True:
            try:
                return await self._write_or_read(key, use, max(1.0, until - use.time))
            except BusUnavailable:
                if self._clock.monotonic() > ends:
                    raise
            await anyio.sleep(_LOOK_AGAIN_SECONDS * (1 + self._clock.random()))

    async def _write_or_read(self, key: Key, use: Use, ttl: float) -> Use:
        try:
            await key.write(msgspec.json.encode(use).decode(), expected=0, ttl=ttl)
        except RevisionConflict:
            found = (await key.look()).value
            if not found:  # a replica of the stream that has not heard of it yet
                raise BusUnavailable("the first use of a token cannot be read yet") from None
            try:
                return msgspec.json.decode(found, type=Use)
            except msgspec.DecodeError:
                return Use(host="", time=0.0)
        return use
