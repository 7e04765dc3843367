"""Takes an exchange to where it is to go: over a warm connection, or a new one."""

import functools
from collections.abc import Awaitable, Callable, Hashable

from anyio.abc import TaskGroup

from common.errors import MeshError
from proxy.codec.heads import Headers
from proxy.refusals import Refusal, ResponseLost
from proxy.session.exchange import Exchange
from proxy.session.http1_client import Http1Client
from proxy.session.pool import Pool
from proxy.transport.stream import Stream
from proxy.transport.sweep import Sweep

Open = Callable[[], Awaitable[Stream]]
"""Makes a new connection; raises Refusal."""
Failed = Callable[[Exchange, Refusal], None]


class Carrier:
    """Carries exchanges; keeps connections warm for `idle_seconds`."""

    def __init__(self, group: TaskGroup, sweep: Sweep, idle_seconds: float) -> None:
        self._group = group
        self._sweep = sweep
        self._pool = Pool(idle_seconds)

    @property
    def idle(self) -> int:
        """How many connections are warm."""
        return len(self._pool)

    def carry(
        self,
        exchange: Exchange,
        key: Hashable,
        open_new: Open,
        failed: Failed,
        extra: Headers | tuple[()] = (),
    ) -> None:
        """Send the exchange to the endpoint `key`, with `extra` fields in the request's head.

        If no connection can be made, `failed` is told, and the exchange is as it was before. If a
        warm connection turns out to be closed and the request can be repeated, a new one is tried.
        """
        client = self._pool.take(key)
        if client is None:
            exchange.retry = None
            self._group.start_soon(self._carry_anew, exchange, key, open_new, failed, extra)
            return
        exchange.retry = functools.partial(self._again, key, open_new, failed, extra)
        client.begin(exchange, extra)

    def close_idle(self) -> None:
        """Close what is warm."""
        self._pool.close()

    def _again(
        self,
        key: Hashable,
        open_new: Open,
        failed: Failed,
        extra: Headers | tuple[()],
        exchange: Exchange,
        error: MeshError,
    ) -> bool:
        # RFC 9112 §9.3.1: a server may close an idle connection just as a request is sent on it.
        if not isinstance(error, ResponseLost) or not exchange.repeatable:
            return False
        exchange.retry = None
        self._group.start_soon(self._carry_anew, exchange, key, open_new, failed, extra)
        return True

    async def _carry_anew(
        self,
        exchange: Exchange,
        key: Hashable,
        open_new: Open,
        failed: Failed,
        extra: Headers | tuple[()],
    ) -> None:
        try:
            stream = await open_new()
        except Refusal as error:
            failed(exchange, error)
            return
        client = Http1Client(
            stream,
            self._sweep,
            functools.partial(self._pool.give, key),
            functools.partial(self._pool.forget, key),
        )
        if exchange.done:
            self._pool.give(key, client)
        else:
            client.begin(exchange, extra)
