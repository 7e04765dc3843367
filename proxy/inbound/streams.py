"""Opaque connections on their way in: each is authorized once, then bytes go both ways."""

import asyncio

from proxy.inbound.caller import Caller
from proxy.refusals import Refusal
from proxy.transport.connect import Connector
from proxy.transport.relay import Relay
from proxy.transport.stream import Stream


class Streams:
    """Relays connections to the application."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._loop = asyncio.get_running_loop()

    async def serve(self, stream: Stream, caller: Caller, early: bytes) -> None:
        """Relay to the application, if the client may."""
        began = self._loop.time()
        counter = caller.counter("tcp")
        counter.opened(began)

        def ended(error: Exception | None, from_client: int, from_application: int) -> None:
            now = self._loop.time()
            counter.bytes_read += from_client
            counter.bytes_written += from_application
            counter.closed(error, now - began, now)
            caller.left()

        refusal: Refusal | None = caller.refusal()
        if refusal is None:
            try:
                application = await self._connector.plain(*caller.target)
            except Refusal as error:
                refusal = error
            else:
                Relay(stream, application, ended).start(early)
                return
        stream.abort()
        ended(refusal, 0, 0)
