"""Whoever comes to the inbound port and is no proxy of this mesh, or does not behave like one."""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress

import anyio
import pytest

from common.x509 import client_context
from demo.programs import INBOUND_PORT
from proxy.control.certify import LEAF_FILE
from proxy.transport import header
from proxy.transport.detect import Protocol
from tests.support.bad_clients import Line, ask, deaf_sockets, line
from tests.support.chaos import (
    BAD,
    CLIENT,
    PATIENCE_SECONDS,
    application,
    gauges,
    resident_bytes,
    undisturbed,
    until_told,
)
from tests.support.mesh import RunningMesh, running_mesh
from tests.support.pki import Pki

pytestmark = pytest.mark.anyio
SLACK = 30_000_000
MANY = 200


@pytest.fixture(scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningMesh]:
    async with running_mesh(tmp_path_factory.mktemp("mesh"), application(rude=False)) as running:
        yield running


def inbound(mesh: RunningMesh) -> str:
    """Where peers come to the application."""
    return f"http://{mesh.replica(BAD).address}:{INBOUND_PORT}"


def anchors(mesh: RunningMesh) -> str:
    return (mesh.paths.mesh / "trust" / "anchor.pem").read_text()


def as_client(mesh: RunningMesh) -> ssl.SSLContext:
    """What the client's proxy shows to others."""
    leaf = (mesh.paths.state(mesh.replica(CLIENT)) / LEAF_FILE).read_bytes()
    return client_context(leaf, anchors(mesh))


@asynccontextmanager
async def peer(mesh: RunningMesh, context: ssl.SSLContext, name: str = "") -> AsyncIterator[Line]:
    """A connection to the inbound port after a handshake."""
    reader, writer = await asyncio.open_connection(
        mesh.replica(BAD).address,
        INBOUND_PORT,
        ssl=context,
        server_hostname=name or mesh.replica(BAD).identity.dns_name,
    )
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


async def is_refused(made: Line) -> bool:
    """Whether the other side ends the connection without a word."""
    with anyio.fail_after(PATIENCE_SECONDS):
        try:
            return await made.rest() == b""
        except (OSError, ssl.SSLError):
            return True


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x01\x1f\x40\x00" * 9,
    ],
    ids=["HTTP/1.1", "HTTP/2", "header"],
)
async def test_who_speaks_in_the_clear_is_refused(mesh: RunningMesh, said: bytes) -> None:
    async with undisturbed(mesh), line(inbound(mesh)) as made:
        await made.say(said)
        with anyio.fail_after(5), suppress(ConnectionResetError):
            # A TLS alert perhaps, and never an answer.
            assert b"HTTP" not in await made.rest()


async def test_who_shows_no_certificate_or_a_strangers_is_refused(mesh: RunningMesh) -> None:
    nobody = ssl.create_default_context(cadata=anchors(mesh))
    nobody.set_alpn_protocols([header.ALPN])
    stranger = client_context(Pki().leaf("client").pem, anchors(mesh))
    before = (await gauges(mesh, BAD))["proxy_rejected_transports_total"]
    async with undisturbed(mesh):
        for context in (nobody, stranger):
            async with peer(mesh, context) as made:
                await made.say(header.write(8000, Protocol.HTTP1), b"GET /ok HTTP/1.1\r\n\r\n")
                assert await is_refused(made)
    assert (await gauges(mesh, BAD))["proxy_rejected_transports_total"] == before + 2


@pytest.mark.parametrize("protocols", [[], ["h2"]])
async def test_who_does_not_name_the_transport_is_refused(
    mesh: RunningMesh, protocols: list[str]
) -> None:
    context = as_client(mesh)
    context.set_alpn_protocols(protocols)
    async with undisturbed(mesh):
        with suppress(ssl.SSLError, ConnectionResetError):
            async with peer(mesh, context) as made:
                assert await is_refused(made)


async def test_who_writes_garbage_for_a_header_is_refused(mesh: RunningMesh) -> None:
    headers = (
        b"\x02" + header.write(8000, Protocol.TCP)[1:],
        header.write(0, Protocol.TCP),
        header.write(INBOUND_PORT, Protocol.TCP),
        struct.pack(">BHBH", header.VERSION, 8000, 7, 0),
        struct.pack(">BHBH", header.VERSION, 8000, 0, 65535) + b"x" * 65535,
    )
    async with undisturbed(mesh):
        for said in headers:
            async with peer(mesh, as_client(mesh)) as made:
                await made.say(said)
                assert await is_refused(made), said


async def test_who_asks_for_a_port_where_nobody_is_gets_a_reset(mesh: RunningMesh) -> None:
    async with undisturbed(mesh), peer(mesh, as_client(mesh)) as made:
        await made.say(header.write(9, Protocol.TCP))
        with anyio.fail_after(5), pytest.raises(ConnectionResetError):
            await made.reader.readexactly(1)


@pytest.mark.parametrize("protocol", list(Protocol))
async def test_who_says_nothing_after_the_header_is_no_burden(
    mesh: RunningMesh, protocol: Protocol
) -> None:
    async with undisturbed(mesh), peer(mesh, as_client(mesh)) as made:
        await made.say(header.write(8000, protocol))


async def test_handshakes_that_stall_end_in_time_and_hinder_nobody(mesh: RunningMesh) -> None:
    """At every stage: not a byte, half a greeting, no certificate after it, half a header."""
    hello = greeting(mesh)
    proxy = mesh.proxy_url(CLIENT)
    before = resident_bytes(mesh, BAD)
    async with undisturbed(mesh), peer(mesh, as_client(mesh)) as slow:
        await slow.say(b"\x01\x1f")
        with ExitStack() as stack:
            for said in (b"", hello[: len(hello) // 2], hello):
                stack.enter_context(deaf_sockets(inbound(mesh), said, MANY))
            await until_told(mesh, BAD, lambda now: now["proxy_inbound_connections"] >= 3 * MANY)
            # One that needs a handshake of its own, because nobody asked for this port before.
            with anyio.fail_after(5):
                assert (await ask(proxy, "http://bad:8001/ok/1")).status == 200
            assert resident_bytes(mesh, BAD) - before < SLACK
            await until_told(mesh, BAD, lambda now: now["proxy_inbound_connections"] < 10)
        assert await is_refused(slow)


def greeting(mesh: RunningMesh) -> bytes:
    """The first words of a handshake."""
    said = ssl.MemoryBIO()
    tls = as_client(mesh).wrap_bio(
        ssl.MemoryBIO(), said, server_hostname=mesh.replica(BAD).identity.dns_name
    )
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return said.read()
