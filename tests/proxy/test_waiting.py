"""A connection whose user is not there yet loses nothing, on a real event loop with real sockets."""

import asyncio
import socket
from collections.abc import Callable

import anyio.lowlevel
import pytest

from proxy.session.detector import Detector
from proxy.transport.accept import Arrival, Listener
from proxy.transport.connect import Connector
from proxy.transport.detect import Protocol
from proxy.transport.relay import Relay
from proxy.transport.sweep import Sweep
from tests.support.nats import until

pytestmark = pytest.mark.anyio
REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


async def listening(arrived: Callable[[Arrival], None]) -> Listener:
    listener = Listener("127.0.0.1", 0, limit=10, arrived=arrived, refused=lambda: None)
    await listener.start()
    return listener


async def test_what_a_client_says_before_anybody_listens_is_heard_by_who_does() -> None:
    arrivals: list[Arrival] = []
    found: list[tuple[Protocol, bytes]] = []
    listener = await listening(arrivals.append)
    with socket.create_connection(("127.0.0.1", listener.port)) as client:
        client.sendall(REQUEST)
        await until(lambda: arrivals)
        for _ in range(20):  # as many turns of the loop as a look-up might take
            await anyio.lowlevel.checkpoint()

        arrival = arrivals[0]
        detector = Detector(
            arrival.transport,
            Sweep(),
            lambda what, early: found.append((what, early)),
            arrival.left,
        )
        detector.start()
        await until(lambda: found)

        assert found == [(Protocol.HTTP1, REQUEST)]
        arrival.transport.abort()
        await listener.stop()
        await until(arrival.transport.is_closing)
        await anyio.lowlevel.checkpoint()


async def test_a_server_that_speaks_first_is_heard() -> None:
    arrivals: list[Arrival] = []
    listener = await listening(arrivals.append)
    with socket.create_server(("127.0.0.1", 0)) as greeter:
        client = socket.create_connection(("127.0.0.1", listener.port))
        stream = await Connector(0, 1.0).plain("127.0.0.1", greeter.getsockname()[1])
        served, _ = greeter.accept()
        served.sendall(b"220 hello\r\n")
        await until(lambda: arrivals)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()

        Relay(arrivals[0].transport, stream, lambda *_: None).start()
        loop = asyncio.get_running_loop()
        client.setblocking(False)
        with anyio.fail_after(5):
            assert await loop.sock_recv(client, 100) == b"220 hello\r\n"
        client.close()
        served.close()
        await until(lambda: stream.is_closing() and arrivals[0].transport.is_closing())
        await listener.stop()
        await anyio.lowlevel.checkpoint()
