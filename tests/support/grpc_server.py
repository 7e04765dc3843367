"""A gRPC server made by grpcio for tests: `grpc_server.py ADDRESS:PORT …`. Messages are plain bytes.

What a call is to do stands in its metadata:

    sleep: SECONDS          before anything else
    times: NUMBER           replies of `Repeat` (default 1)
    pause: SECONDS          between the replies of `Repeat` and of `Talk`
    size: BYTES             replies of so many bytes instead of the message
    code: NUMBER            end with this status, after the replies; `details-bin` is its message, and
    large: BYTES            metadata of so many bytes after the replies
    x-…                     comes back, both before the replies and after them
    note: NAME              `Noticed` tells how calls with a name have ended

`Unary`, `Collect` (a stream of messages, answered with all of them joined), `Repeat` (one message, answered
with a stream) and `Talk` (each message is answered at once) are the four forms. `Remaining` answers with
the seconds that are left, `Noticed` with JSON, and `Die` ends the process.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc import aio

SERVICE = "tulle.tests.Real"
LARGEST = 16 * 1024 * 1024
Context = aio.ServicerContext[bytes, bytes]

noticed: dict[str, str] = {}


class Call:
    """What the metadata of a call says."""

    def __init__(self, context: Context) -> None:
        self.asked = dict(context.invocation_metadata() or ())

    def text(self, key: str, default: str = "") -> str:
        value = self.asked.get(key, default)
        return value if isinstance(value, str) else value.decode()

    def reply(self, message: bytes) -> bytes:
        return b"r" * int(self.text("size")) if "size" in self.asked else message

    def echoed(self) -> tuple[tuple[str, str | bytes], ...]:
        return tuple((key, value) for key, value in self.asked.items() if key.startswith("x-"))

    def trailing(self) -> tuple[tuple[str, str | bytes], ...]:
        if "large" in self.asked:
            return (("x-large", "y" * int(self.text("large"))),)
        rich = (("grpc-status-details-bin", bytes(range(256))),) if "rich" in self.asked else ()
        return self.echoed() + rich


@asynccontextmanager
async def obeyed(context: Context) -> AsyncIterator[Call]:
    """Do what a call asks for, before and after its replies."""
    call = Call(context)
    how = "cancelled"
    try:
        if call.echoed():
            await context.send_initial_metadata(call.echoed())
        context.set_trailing_metadata(call.trailing())
        await asyncio.sleep(float(call.text("sleep", "0")))
        yield call
        how = "completed"
        if "code" in call.asked:
            code = next(c for c in grpc.StatusCode if c.value[0] == int(call.text("code")))
            await context.abort(code, call.text("details-bin", "as asked"), call.trailing())
    finally:
        if "note" in call.asked:
            noticed[call.text("note")] = how


async def unary(message: bytes, context: Context) -> bytes:
    async with obeyed(context) as call:
        return call.reply(message)


async def collect(messages: AsyncIterator[bytes], context: Context) -> bytes:
    async with obeyed(context) as call:
        return call.reply(b"".join([message async for message in messages]))


async def repeat(message: bytes, context: Context) -> AsyncIterator[bytes]:
    async with obeyed(context) as call:
        for number in range(int(call.text("times", "1"))):
            if number:
                await asyncio.sleep(float(call.text("pause", "0")))
            yield call.reply(message)


async def talk(messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    async with obeyed(context) as call:
        async for message in messages:
            yield call.reply(message)
            await asyncio.sleep(float(call.text("pause", "0")))


async def remaining(_message: bytes, context: Context) -> bytes:
    return str(context.time_remaining()).encode()


async def tell_noticed(_message: bytes, _context: Context) -> bytes:
    return json.dumps(noticed).encode()


async def die(_message: bytes, _context: Context) -> bytes:
    os._exit(0)


def handlers() -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Unary": grpc.unary_unary_rpc_method_handler(unary),
            "Collect": grpc.stream_unary_rpc_method_handler(collect),
            "Repeat": grpc.unary_stream_rpc_method_handler(repeat),
            "Talk": grpc.stream_stream_rpc_method_handler(talk),
            "Remaining": grpc.unary_unary_rpc_method_handler(remaining),
            "Noticed": grpc.unary_unary_rpc_method_handler(tell_noticed),
            "Die": grpc.unary_unary_rpc_method_handler(die),
        },
    )


async def main() -> None:
    limits = [
        ("grpc.max_receive_message_length", LARGEST),
        ("grpc.max_send_message_length", LARGEST),
    ]
    server = aio.server(options=limits)
    server.add_generic_rpc_handlers((handlers(),))
    for address in sys.argv[1:]:
        server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
