"""A key of a KV bucket, taken and given by compare-and-set: what a lease is made of."""

from dataclasses import dataclass

from common.bus import state
from common.bus.client import Bus

_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class Held:
    """What a key holds: nothing (`value` empty) or a holder's name, and its revision (0: never written)."""

    value: str
    revision: int


class Key:
    """One key of one bucket. All methods raise BusUnavailable."""

    def __init__(self, bus: Bus, bucket: str, name: str) -> None:
        self.subject = f"$KV.{bucket}.{name}"
        self._connection = bus.connection
        self._stream = f"KV_{bucket}"

    async def look(self) -> Held:
        """What it holds, perhaps a moment ago."""
        message = await state.fetch(self._connection, self._stream, self.subject, _TIMEOUT)
        if message is None:
            return Held("", 0)
        return Held(message.data.decode("utf-8", "replace"), state.sequence(message))

    async def write(self, value: str, *, expected: int, ttl: float) -> int:
        """Write over revision `expected`, for `ttl` seconds; returns the revision.

        May raise RevisionConflict.
        """
        return await state.store(
            self._connection,
            self.subject,
            value.encode(),
            stream=self._stream,
            expected=expected,
            ttl=ttl,
            timeout=_TIMEOUT,
        )

    async def delete(self, *, expected: int) -> None:
        """Empty it, if `expected` is its revision. May raise RevisionConflict."""
        await state.store(
            self._connection,
            self.subject,
            b"",
            stream=self._stream,
            expected=expected,
            ttl=1,
            more={"KV-Operation": "DEL"},
            timeout=_TIMEOUT,
        )
