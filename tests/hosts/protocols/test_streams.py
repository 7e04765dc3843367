"""What is not HTTP, or soon is not any more: WebSockets, Redis, PostgreSQL, mail."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.intercepted import Intercepted, Talking
from tests.support.protocols import postgres_folder

pytestmark = pytest.mark.anyio

MAIL = """From: a@shop
To: b@shop
Subject: {}

{}
"""


@asynccontextmanager
async def websocket(mesh: Intercepted, path: str) -> AsyncIterator[ClientConnection]:
    """A WebSocket from the client to the server."""
    connection = await mesh.connect("client-1", "sockets", 8000)
    async with connect(f"ws://sockets:8000{path}", sock=connection, max_size=None) as talk:
        yield talk


async def test_a_websocket_carries_text_and_bytes_of_any_size(mesh: Intercepted) -> None:
    messages = ("", "grüße", b"\0\xff", "x" * 65536, os.urandom(1_000_000), "y" * 1_000_000)

    async with websocket(mesh, "/echo") as talk:
        for message in messages:
            await talk.send(message)
            assert await talk.recv() == message
        # In fragments, and many before the first answer is read.
        await talk.send(iter(["a", "b", "c"]))
        for number in range(1000):
            await talk.send(f"{number}")
        assert await talk.recv() == "abc"
        assert [await talk.recv() for _ in range(1000)] == [f"{n}" for n in range(1000)]


async def test_a_websocket_is_asked_for_by_somebody_who_is_known(mesh: Intercepted) -> None:
    async with websocket(mesh, "/asks") as talk:
        assert await talk.recv() == "spiffe://cluster.local/ns/shop/sa/client"


async def test_pings_of_a_websocket_are_answered_by_the_other_end(mesh: Intercepted) -> None:
    async with websocket(mesh, "/echo") as talk:
        for number in range(20):
            answered = await talk.ping(f"{number}")
            with anyio.fail_after(5):
                await answered


async def test_how_a_websocket_is_closed_is_heard_on_the_other_side(mesh: Intercepted) -> None:
    async with websocket(mesh, "/close") as talk:
        await talk.send("that is all")
        with pytest.raises(ConnectionClosed) as closed:
            await talk.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4321, "enough of that")

    async with websocket(mesh, "/echo") as talk:
        await talk.close(4999, "for now")
    assert (talk.close_code, talk.close_reason) == (4999, "for now")


async def test_what_a_server_pushes_reaches_every_websocket_at_once(mesh: Intercepted) -> None:
    async with (
        websocket(mesh, "/push") as one,
        websocket(mesh, "/push") as other,
        websocket(mesh, "/push") as speaker,
    ):
        with anyio.fail_after(10):
            for number in range(100):
                await speaker.send(f"{number}")
                for listener in (one, other, speaker):
                    assert await listener.recv() == f"{number}"


@pytest.mark.parametrize("port", [6379, 7000])
async def test_redis_answers_ten_thousand_commands_that_did_not_wait_for_each_other(
    mesh: Intercepted, port: int
) -> None:
    """Port 6379 is opaque by default; on 7000 it is found out."""
    redis = ("redis-cli", "-h", "redis", "-p", str(port))
    commands = b"".join(b"SET key:%d %d\r\n" % (n, n) for n in range(9_999)) + b"DBSIZE\r\n"

    said = await mesh.run("client-1", *redis, "--pipe", text=commands)
    got = await mesh.run("client-1", *redis, "MGET", *(f"key:{n}" for n in range(0, 9_999, 100)))
    await mesh.run("client-1", *redis, "-x", "SET", "large", text=bytes(5_000_000))

    assert "errors: 0, replies: 10000" in said
    assert got.split() == [str(n) for n in range(0, 9_999, 100)]
    assert await mesh.run("client-1", *redis, "STRLEN", "large") == "5000000\n"


async def test_redis_pushes_to_those_who_subscribed(mesh: Intercepted) -> None:
    redis = ("redis-cli", "-h", "redis", "-p", "7000")
    async with mesh.running("client-1", *redis, "SUBSCRIBE", "news") as listener:
        assert [await listener.line() for _ in range(3)] == ["subscribe", "news", "1"]
        for number in range(5):
            await mesh.run("client-1", *redis, "PUBLISH", "news", f"{number}")
            assert [await listener.line() for _ in range(3)] == ["message", "news", f"{number}"]


async def test_postgresql_serves_queries_and_transactions_at_the_same_time(
    mesh: Intercepted,
) -> None:
    """On a port that is not opaque by default: the server waits for the client, whose first bytes tell."""
    where = ("-h", "postgres", "-p", "5433", "-U", "shop")
    bench = f"{postgres_folder()}/pgbench"

    await mesh.run("client-1", bench, *where, "-i", "-q", "postgres")
    said = await mesh.run("client-1", bench, *where, "-c", "4", "-t", "100", "postgres")
    rows = await mesh.run(
        "client-1", "psql", *where, "-Atc", "SELECT n FROM generate_series(1, 100000) n", "postgres"
    )

    assert "number of transactions actually processed: 400/400" in said
    assert "number of failed transactions: 0" in said
    assert rows.split() == [str(n) for n in range(1, 100_001)]


async def test_edges_of_opaque_protocols_are_told_with_mutual_tls(mesh: Intercepted) -> None:
    await mesh.run("client-1", "redis-cli", "-h", "redis", "PING")

    edge = (await mesh.edges())["client", "redis", "tcp"]

    assert edge.mtls
    assert edge.target_identity == "spiffe://cluster.local/ns/shop/sa/redis"


async def send_mail(mesh: Intercepted, servers: Path, port: int, subject: str) -> None:
    """Send a mail with curl, and find it in the server's mailbox."""
    body = "x" * 70 + "\n"
    await mesh.run(
        "client-1",
        *("curl", "-sS", "--max-time", "20", f"smtp://mail:{port}"),
        *("--mail-from", "a@shop", "--mail-rcpt", "b@shop", "-T", "-"),
        text=MAIL.format(subject, body * 10_000).replace("\n", "\r\n").encode(),
    )
    kept = [path.read_text() for path in (servers / "mail" / "new").iterdir()]
    [mail] = [text for text in kept if f"Subject: {subject}\n" in text]
    assert mail.count(body) == 10_000


async def test_mail_goes_to_a_server_that_speaks_first(mesh: Intercepted, servers: Path) -> None:
    """Port 25 is opaque by default: nobody waits."""
    with anyio.fail_after(3):
        await send_mail(mesh, servers, 25, "by the usual port")


async def test_a_call_that_has_nothing_to_say_for_long_lives_on(quiet: Talking) -> None:
    """It began when the mesh did, and does not begin to answer for 45 seconds."""
    assert await quiet.line(60.0) == "1"


async def test_a_server_that_speaks_first_is_heard_at_once_on_any_port(
    mesh: Intercepted, servers: Path
) -> None:
    with anyio.fail_after(3):
        await send_mail(mesh, servers, 2525, "by another port")
