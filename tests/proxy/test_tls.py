"""TLS between proxies against independent peers: Python's own ssl, and openssl's s_client and s_server."""

import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.to_thread import run_sync

from common.x509 import client_context, peer_identity
from proxy.refusals import ConnectFailed, TlsFailed
from proxy.transport.accept import Arrival, Listener
from proxy.transport.connect import Connector
from proxy.transport.header import ALPN
from proxy.transport.tls import Tls
from tests.support import ends
from tests.support.ends import BOOKS_NAME, Recorder, TlsFiles, socket_pair, transport
from tests.support.nats import until
from tests.support.pki import Pki

pytestmark = pytest.mark.anyio

MEGABYTES = bytes(range(256)) * 4096 * 10


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return TlsFiles(Path(tmp_path_factory.mktemp("tls")))


@pytest.mark.parametrize("server", [True, False])
async def test_both_ends_know_who_the_other_is(files: TlsFiles, server: bool) -> None:
    async with ends.tls(Recorder(), files, server=server) as (stream, far):
        expected = "web" if server else "books"
        identity = peer_identity(stream.ssl_object)
        assert identity is not None
        assert identity.service_account == expected
        assert stream.ssl_object.version() == "TLSv1.3"
        assert stream.ssl_object.selected_alpn_protocol() == ALPN
        assert isinstance(far.socket, ssl.SSLSocket)
        assert far.socket.selected_alpn_protocol() == ALPN


@pytest.mark.parametrize("server", [True, False])
async def test_ten_megabytes_go_both_ways_at_once(files: TlsFiles, server: bool) -> None:
    user = Recorder()
    async with ends.tls(user, files, server=server) as (stream, far):
        heard: list[bytes] = []

        async def hear() -> None:
            heard.append(await far.receive(len(MEGABYTES)))

        stream.write(MEGABYTES)
        await hear()
        assert heard == [MEGABYTES]
        await far.send(MEGABYTES)
        await until(lambda: len(user.data) == len(MEGABYTES))
        assert user.data == MEGABYTES


@pytest.mark.parametrize("server", [True, False])
async def test_a_peer_that_ends_without_saying_so_in_tls_is_an_error(
    files: TlsFiles, server: bool
) -> None:
    user = Recorder()
    async with ends.tls(user, files, server=server) as (stream, far):
        await far.send(b"half of it")
        await far.truncate()
        await until(lambda: user.events)

        assert user.data == b"half of it"
        assert user.events == ["lost"]
        assert isinstance(user.error, ConnectionResetError)
        assert stream.is_closing()


async def test_a_truncation_behind_paused_reading_is_an_error_too(files: TlsFiles) -> None:
    user = Recorder()
    async with ends.tls(user, files, server=True) as (stream, far):
        stream.pause_reading()
        await far.send(b"x" * 40_000)
        await far.truncate()
        await anyio.sleep(0.02)
        assert user.events == []
        stream.resume_reading()
        await until(lambda: user.events)

        assert user.data == b"x" * 40_000
        assert user.events == ["lost"]
        assert user.error is not None


@pytest.mark.parametrize("server", [True, False])
async def test_bytes_that_are_not_tls_break_the_connection(files: TlsFiles, server: bool) -> None:
    user = Recorder()
    async with ends.tls(user, files, server=server) as (_, far):
        with socket.socket(fileno=far.socket.detach()) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
            await until(lambda: user.events)

        assert user.events == ["lost"]
        assert isinstance(user.error, ssl.SSLError)


async def test_what_a_slow_reader_makes_us_hold_is_no_more_than_what_was_written(
    files: TlsFiles,
) -> None:
    user = Recorder()
    async with ends.tls(user, files, server=True) as (stream, far):
        while "pause" not in user.events:
            stream.write(b"x" * 1000)
        held = stream.get_write_buffer_size()
        assert held < 200_000
        sent = await far.receive(1)
        assert sent == b"x"


class Handshake:
    """How a handshake between our Tls and a peer ended, at our end and at theirs."""

    def __init__(self) -> None:
        self.ours: list[Exception | None] = []
        self.theirs: Exception | None = None


async def shake(
    ours: ssl.SSLContext, theirs: ssl.SSLContext, *, server: bool, name: str = BOOKS_NAME
) -> Handshake:
    """Shake hands with Python's ssl; our end aborts as soon as it is told of a failure."""
    near, far = socket_pair()
    outcome = Handshake()
    user = Recorder()

    def ready(tls: Tls, error: Exception | None) -> None:
        outcome.ours.append(error)
        if error is not None:
            tls.abort()
        tls.set_protocol(user)

    tls = Tls(ours, ready, server_hostname=None if server else name)

    def their_side() -> None:
        far.settimeout(5)
        try:
            with theirs.wrap_socket(
                far,
                server_side=not server,
                server_hostname=name if server else None,
                suppress_ragged_eofs=False,
            ) as wrapped:
                wrapped.recv(1)  # a client learns only here that it was refused (TLS 1.3)
        except OSError as error:
            outcome.theirs = error

    async with anyio.create_task_group() as group:
        group.start_soon(run_sync, their_side)
        await transport(near, tls)
        await until(lambda: outcome.ours)
        tls.abort()
    far.close()
    return outcome


async def test_a_server_that_is_not_the_one_we_want_is_refused(files: TlsFiles) -> None:
    outcome = await shake(
        files.ours(files.web, server=False), files.theirs(files.web_file, server=True), server=False
    )

    assert isinstance(outcome.ours[0], ssl.SSLCertVerificationError)
    assert "Hostname mismatch" in str(outcome.ours[0])
    assert "ALERT" in str(outcome.theirs)


async def test_a_server_of_another_mesh_is_refused(files: TlsFiles) -> None:
    ours = client_context(files.web.pem, Pki().anchors_pem)
    outcome = await shake(ours, files.theirs(files.books_file, server=True), server=False)

    assert isinstance(outcome.ours[0], ssl.SSLCertVerificationError)
    assert "UNKNOWN_CA" in str(outcome.theirs)


async def test_a_client_of_another_mesh_is_refused(files: TlsFiles, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.pem"
    foreign.write_bytes(Pki().leaf("web").pem)
    outcome = await shake(
        files.ours(files.books, server=True), files.theirs(str(foreign), server=False), server=True
    )

    assert isinstance(outcome.ours[0], ssl.SSLCertVerificationError)
    assert "UNKNOWN_CA" in str(outcome.theirs)


async def test_a_client_without_a_certificate_is_refused(files: TlsFiles) -> None:
    outcome = await shake(
        files.ours(files.books, server=True), files.theirs(None, server=False), server=True
    )

    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in str(outcome.ours[0])
    assert "CERTIFICATE_REQUIRED" in str(outcome.theirs)


async def test_a_client_of_tls_1_2_is_refused(files: TlsFiles) -> None:
    theirs = files.theirs(files.web_file, server=False)
    theirs.maximum_version = ssl.TLSVersion.TLSv1_2
    outcome = await shake(files.ours(files.books, server=True), theirs, server=True)

    assert "UNSUPPORTED_PROTOCOL" in str(outcome.ours[0])
    assert "PROTOCOL_VERSION" in str(outcome.theirs)


async def test_plain_text_at_a_tls_port_is_refused(files: TlsFiles) -> None:
    near, far = socket_pair()
    outcome: list[Exception | None] = []
    tls = Tls(files.ours(files.books, server=True), lambda _, error: outcome.append(error))
    with far:
        await transport(near, tls)
        far.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await until(lambda: outcome)

    assert "HTTP_REQUEST" in str(outcome[0])
    assert len(outcome) == 1


async def test_a_peer_that_leaves_amid_the_handshake_is_an_error_told_once(files: TlsFiles) -> None:
    near, far = socket_pair()
    outcome: list[Exception | None] = []
    tls = Tls(files.ours(files.books, server=True), lambda _, error: outcome.append(error))
    await transport(near, tls)
    far.close()
    await until(lambda: outcome)
    await until(tls.is_closing)

    assert isinstance(outcome[0], ConnectionResetError)


# Connections that our own connector makes.


@asynccontextmanager
async def our_server(files: TlsFiles) -> AsyncIterator[tuple[int, list[Recorder]]]:
    """A listener that shakes hands as books and keeps what it hears."""
    users: list[Recorder] = []
    streams: list[Tls] = []

    def arrived(arrival: Arrival) -> None:
        def ready(tls: Tls, error: Exception | None) -> None:
            if error is None:
                users.append(Recorder())
                tls.set_protocol(users[-1])

        tls = Tls(files.ours(files.books, server=True), ready)
        streams.append(tls)
        arrival.transport.set_protocol(tls)
        tls.connection_made(arrival.transport)
        arrival.transport.resume_reading()

    listener = Listener("127.0.0.1", 0, limit=10, arrived=arrived, refused=lambda: None)
    await listener.start()
    try:
        yield listener.port, users
    finally:
        await listener.stop()
        for tls in streams:
            tls.abort()
        await anyio.lowlevel.checkpoint()


async def test_our_connector_and_our_listener_understand_each_other(files: TlsFiles) -> None:
    async with our_server(files) as (port, users):
        context = files.ours(files.web, server=False)
        stream = await Connector(0, 2.0).mutual_tls("127.0.0.1", port, context, BOOKS_NAME)
        user = Recorder()
        stream.set_protocol(user)
        stream.write(MEGABYTES)
        stream.write_eof()
        await until(lambda: users and users[0].events)
        assert users[0].data == MEGABYTES
        assert users[0].events == ["end"]
        stream.abort()
        await until(lambda: user.events[-1] == "lost")


async def test_a_connection_that_is_refused_is_a_failed_connect(files: TlsFiles) -> None:
    context = files.ours(files.web, server=False)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ConnectFailed, match=f"127.0.0.1:{port}"):
        await Connector(0, 2.0).mutual_tls("127.0.0.1", port, context, BOOKS_NAME)
    with pytest.raises(ConnectFailed, match=f"127.0.0.1:{port}"):
        await Connector(0, 2.0).plain("127.0.0.1", port)


@pytest.mark.parametrize("address", ["", "books", "300.1.1.1", "::g"])
async def test_an_address_that_is_none_is_a_failed_connect(files: TlsFiles, address: str) -> None:
    context = files.ours(files.web, server=False)
    with pytest.raises(ConnectFailed):
        await Connector(0, 2.0).plain(address, 80)
    with pytest.raises(ConnectFailed):
        await Connector(0, 2.0).mutual_tls(address, 80, context, BOOKS_NAME)


async def test_a_server_that_never_shakes_hands_is_given_up(files: TlsFiles) -> None:
    context = files.ours(files.web, server=False)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(ConnectFailed, match="timed out"),
    ):
        await Connector(0, 0.1).mutual_tls(
            "127.0.0.1", silent.getsockname()[1], context, BOOKS_NAME
        )


async def test_a_server_that_is_another_is_a_failed_handshake(files: TlsFiles) -> None:
    async with our_server(files) as (port, _):
        context = files.ours(files.web, server=False)
        with pytest.raises(TlsFailed, match="Hostname mismatch"):
            await Connector(0, 2.0).mutual_tls("127.0.0.1", port, context, "other.example")


# openssl as a peer.


def openssl(*arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        ["openssl", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@contextmanager
def running(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    with process:
        try:
            yield process
        finally:
            process.kill()


async def test_openssl_s_client_talks_to_us(files: TlsFiles) -> None:
    async with our_server(files) as (port, users):
        command = openssl(
            *("s_client", "-connect", f"127.0.0.1:{port}", "-servername", BOOKS_NAME),
            *("-CAfile", files.anchors, "-cert", files.web_file, "-key", files.web_file),
            *(
                "-cert_chain",
                files.web_file,
                "-verify_return_error",
                "-verify_hostname",
                BOOKS_NAME,
            ),
            *("-alpn", ALPN, "-quiet", "-no_ign_eof"),
        )
        with running(command):
            assert command.stdin is not None
            command.stdin.write(b"hello\n")
            command.stdin.flush()
            await until(lambda: users and users[0].data)
            assert users[0].data == b"hello\n"
            command.stdin.close()
            await until(lambda: users[0].events)
            # It says close_notify before it goes.
            assert users[0].events[0] == "end"


async def test_we_talk_to_openssl_s_server(files: TlsFiles) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = openssl(
        *("s_server", "-accept", f"127.0.0.1:{port}", "-CAfile", files.anchors, "-Verify", "5"),
        *("-cert", files.books_file, "-key", files.books_file, "-cert_chain", files.books_file),
        *("-verify_return_error", "-alpn", ALPN, "-rev", "-naccept", "1"),
    )
    with running(command):
        context = files.ours(files.web, server=False)
        stream = await insist(
            lambda: Connector(0, 2.0).mutual_tls("127.0.0.1", port, context, BOOKS_NAME)
        )
        user = Recorder()
        stream.set_protocol(user)
        stream.resume_reading()
        stream.write(b"hello\n")
        await until(lambda: user.data == b"olleh\n")
        stream.abort()
        await until(lambda: user.events)


async def insist(connect: Callable[[], Any]) -> Any:
    """Try until the server listens."""
    with anyio.fail_after(10):
        while True:
            try:
                return await connect()
            except ConnectFailed:
                await anyio.sleep(0.05)
