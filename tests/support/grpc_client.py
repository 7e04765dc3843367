"""Calls made by grpcio: `grpc_client.py` reads Calls from its standard input and prints an Outcome for each.

Tests import the two messages, and run the file where a workload runs.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from grpc import aio

SERVICE = "tulle.tests.Real"


class Call(msgspec.Struct, frozen=True):
    """One call of a method of grpc_server.py."""

    method: str
    messages: tuple[bytes, ...] = (b"hello",)
    metadata: tuple[tuple[str, bytes], ...] = ()
    """As with gRPC, keys that end in `-bin` may have any bytes, others text."""
    timeout: float | None = None
    cancel_after: int | None = None
    """Cancel after so many replies."""
    aloud: bool = False
    """Print a line for each reply as it comes."""
    after: float = 0.0
    """Seconds before it begins."""


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """Calls over one channel, all at the same time or one after the other."""

    target: str
    calls: tuple[Call, ...]
    at_once: bool = True
    options: tuple[tuple[str, int], ...] = ()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a call went; values of metadata are bytes."""

    code: str
    details: str
    replies: tuple[bytes, ...]
    initial: tuple[tuple[str, bytes], ...]
    trailing: tuple[tuple[str, bytes], ...]
    seconds: float


def values(metadata: Any) -> tuple[tuple[str, bytes], ...]:
    return tuple(
        (key, value if isinstance(value, bytes) else value.encode())
        for key, value in metadata or ()
    )


def metadata(call: Call) -> aio.Metadata:
    return aio.Metadata(
        *((key, value if key.endswith("-bin") else value.decode()) for key, value in call.metadata)
    )


async def said(messages: tuple[bytes, ...]) -> AsyncIterator[bytes]:
    for message in messages:
        yield message


FORMS: dict[str, tuple[str, bool, bool]] = {
    "Collect": ("stream_unary", True, False),
    "Repeat": ("unary_stream", False, True),
    "Talk": ("stream_stream", True, True),
}


async def carry_out(channel: aio.Channel, call: Call) -> Outcome:
    await asyncio.sleep(call.after)
    form, asks_often, answers_often = FORMS.get(call.method, ("unary_unary", False, False))
    make: Callable[..., Any] = getattr(channel, form)(f"/{SERVICE}/{call.method}")
    request = said(call.messages) if asks_often else call.messages[0]
    loop = asyncio.get_running_loop()
    began = loop.time()
    called = make(request, timeout=call.timeout, metadata=metadata(call))
    replies: list[bytes] = []
    with contextlib.suppress(aio.AioRpcError, asyncio.CancelledError):
        if answers_often:
            async for reply in called:
                replies.append(reply)
                if call.aloud:
                    sys.stdout.write(f"{len(replies)}\n")
                    sys.stdout.flush()
                if len(replies) == call.cancel_after:
                    called.cancel()
        else:
            replies.append(await called)
    code = await called.code()
    return Outcome(
        code=code.name,
        details=await called.details() or "",
        replies=tuple(replies),
        initial=values(await called.initial_metadata()),
        trailing=values(await called.trailing_metadata()),
        seconds=loop.time() - began,
    )


async def main() -> None:
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Calls)
    options = [("grpc.max_receive_message_length", -1), *asked.options]
    async with aio.insecure_channel(asked.target, options=options) as channel:
        if asked.at_once:
            done = await asyncio.gather(*(carry_out(channel, call) for call in asked.calls))
        else:
            done = [await carry_out(channel, call) for call in asked.calls]
    sys.stdout.buffer.write(msgspec.json.encode(done))


if __name__ == "__main__":
    # Names are in the hosts file; the other resolver would wait for name servers.
    os.environ["GRPC_DNS_RESOLVER"] = "native"
    asyncio.run(main())
