"""Steady gRPC, with grpcio: calls one after the other, or long streams that go both ways."""

from collections.abc import AsyncIterator

import anyio
from grpc import aio

from tests.support.grpc_client import SERVICE
from tests.support.load import PATIENCE_SECONDS, Target, Traffic

# A call that grpcio sent again by itself would not be missed: it must not.
OPTIONS = (("grpc.enable_retries", 0), ("grpc.max_reconnect_backoff_ms", 200))


class Grpc(Traffic):
    """Calls over channels that are kept. With `parts`, streams of so many messages, each answered in turn.

    A channel that has no connection waits for one: nothing is ever `refused`.
    """

    def __init__(
        self,
        target: Target,
        *,
        parts: int = 0,
        part_pause: float = 0.0,
        connections: int = 2,
        pause: float = 0.02,
    ) -> None:
        super().__init__(
            "gRPC stream" if parts else "gRPC", target, connections=connections, pause=pause
        )
        self._parts = parts
        self._part_pause = part_pause

    async def _run(self, stop: anyio.Event) -> None:
        async with aio.insecure_channel(self.target.authority, options=OPTIONS) as channel:
            ask = self._stream if self._parts else self._call
            while not stop.is_set():
                number, self.begun = self.begun, self.begun + 1
                try:
                    trouble = await ask(channel, b"%d" % number)
                except aio.AioRpcError as error:
                    trouble = f"{error.code().name} {error.details()} {error.trailing_metadata()}"
                if trouble:
                    self.lost.append(f"{number}: {trouble}")
                else:
                    self.answered += 1
                await anyio.sleep(self._pause)

    async def _call(self, channel: aio.Channel, message: bytes) -> str:
        method: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/Unary")
        reply = await method(message, timeout=PATIENCE_SECONDS, wait_for_ready=True)
        return "" if reply == message else f"not its answer: {reply!r}"

    async def _stream(self, channel: aio.Channel, message: bytes) -> str:
        answered = anyio.Event()
        answered.set()

        async def messages() -> AsyncIterator[bytes]:
            nonlocal answered
            for part in range(self._parts):
                await answered.wait()
                answered = anyio.Event()
                await anyio.sleep(self._part_pause)
                yield b"%b/%d" % (message, part)

        method: aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            f"/{SERVICE}/Talk"
        )
        patience = PATIENCE_SECONDS + self._parts * self._part_pause
        replies: list[bytes] = []
        async for reply in method(messages(), timeout=patience, wait_for_ready=True):
            replies.append(reply)
            answered.set()
        expected = [b"%b/%d" % (message, part) for part in range(self._parts)]
        return "" if replies == expected else f"not its answers: {replies}"
