"""Opaque connections on their way in: each is authorized once, then bytes go both ways."""

import asyncio
from collections.abc import Callable

from proxy.inbound.caller import Caller
from proxy.refusals import Refusal
from proxy.session.detector import Detector
from proxy.transport.connect import Connector
from proxy.transport.relay import Relay
from proxy.transport.stream import Stream, reset


class Streams:
    """Relays connections to the application. `learned(port)` is called when it was seen to speak first."""

    def __init__(self, connector: Connector, learned: Callable[[int], None]) -> None:
        self._connector = connector
        self._learned = learned
        self._loop = asyncio.get_running_loop()

    async def serve(self, stream: Stream, caller: Caller, early: bytes) -> None:
        """Relay to the application, if the client may."""
        refusal: Refusal | None = caller.refusal()
        if refusal is None:
            try:
                application = await self._connector.plain(*caller.target)
            except Refusal as error:
                refusal = error
            else:
                self._join(stream, caller, early, application)
                return
        counter, now = caller.counter("tcp"), self._loop.time()
        counter.opened(now)
        counter.closed(refusal, 0.0, now)
        reset(stream)
        caller.left()

    async def listen_ahead(self, stream: Stream, caller: Caller, detector: Detector) -> None:
        """While the client is silent, find out whether the application speaks first; if so, relay."""
        if caller.refusal() is not None:
            return
        try:
            application = await self._connector.plain(*caller.target)
        except Refusal:
            return

        def spoke(early: bytes, said: bytes) -> None:
            self._learned(caller.target[1])
            self._join(stream, caller, early, application, said)

        detector.listen_ahead(application, spoke)

    def _join(
        self, stream: Stream, caller: Caller, early: bytes, application: Stream, said: bytes = b""
    ) -> None:
        began = self._loop.time()
        counter = caller.counter("tcp")
        counter.opened(began)

        def ended(error: Exception | None, from_client: int, from_application: int) -> None:
            now = self._loop.time()
            counter.bytes_read += from_client
            counter.bytes_written += from_application
            counter.closed(error, now - began, now)
            caller.left()

        def spoke_first() -> None:
            self._learned(caller.target[1])

        Relay(stream, application, ended, spoke_first).start(early, said)
