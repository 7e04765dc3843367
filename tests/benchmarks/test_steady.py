"""The open loop: it sends when it is time, and counts what does not come back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.steady import measure

pytestmark = pytest.mark.anyio
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def server(answer: bytes, pause: float) -> AsyncIterator[tuple[str, int]]:
    writers = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        while await reader.read(4096):
            await asyncio.sleep(pause)
            writer.write(answer)
        writer.close()

    started = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with started:
        yield started.sockets[0].getsockname()
        for writer in writers:
            writer.close()
            await writer.wait_closed()


async def test_it_sends_at_the_rate_it_was_told_even_if_answers_are_slow() -> None:
    async with server(ANSWER, 0.2) as (host, port):
        done = await measure(host, port, 200.0, 0.5)

    # Were it to wait for answers, twenty connections would send fifty requests.
    assert 70 < done.count < 140
    assert done.failed == 0
    assert 200 <= done.more["p50_ms"] <= done.more["p99_ms"]


async def test_an_answer_that_says_no_is_a_failure() -> None:
    async with server(ANSWER.replace(b"200 OK", b"503 No"), 0.0) as (host, port):
        done = await measure(host, port, 100.0, 0.2)

    assert done.failed == done.count > 0
