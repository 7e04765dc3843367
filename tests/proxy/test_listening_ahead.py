"""While a client is silent: does its server speak first?"""

import anyio
import pytest

from proxy.session.detector import QUIET_SECONDS, Detector
from proxy.transport.detect import Protocol
from proxy.transport.sweep import Sweep
from tests.support.nats import until
from tests.support.streams import MemoryStream

pytestmark = pytest.mark.anyio


class Listening:
    """A detector on a client's connection, and what came of it."""

    def __init__(self) -> None:
        self.client, self.server = MemoryStream(), MemoryStream()
        self.found: list[tuple[Protocol, bytes]] = []
        self.spoke: list[tuple[bytes, bytes]] = []
        self.gone = 0
        self.asked = 0
        self.detector = Detector(
            self.client, Sweep(), lambda *found: self.found.append(found), self._gone, self._quiet
        )
        self.detector.start()

    def _gone(self) -> None:
        self.gone += 1

    def _quiet(self, detector: Detector) -> None:
        self.asked += 1
        detector.listen_ahead(self.server, lambda *said: self.spoke.append(said))

    async def quiet(self) -> None:
        await until(lambda: self.asked)


async def test_a_server_that_speaks_first_is_heard_and_nothing_is_lost() -> None:
    talk = Listening()
    await talk.quiet()

    talk.server.hears(b"220 ready\r\n")

    assert talk.spoke == [(b"", b"220 ready\r\n")]
    assert talk.client.paused
    assert talk.server.paused
    talk.client.hears(b"EHLO\r\n")
    assert talk.found == []


async def test_a_client_that_speaks_first_decides_and_the_server_is_let_go() -> None:
    talk = Listening()
    await talk.quiet()

    talk.client.hears(b"GET / HTTP/1.1\r\n")

    assert talk.found == [(Protocol.HTTP1, b"GET / HTTP/1.1\r\n")]
    assert talk.server.is_closing()
    assert talk.spoke == []


async def test_half_a_word_of_the_clients_goes_on_with_the_servers_first() -> None:
    talk = Listening()
    talk.client.hears(b"HEL")
    await talk.quiet()

    talk.server.hears(b"220 ready\r\n")

    assert talk.spoke == [(b"HEL", b"220 ready\r\n")]


async def test_a_server_that_leaves_without_a_word_decides_nothing() -> None:
    talk = Listening()
    await talk.quiet()

    talk.server.breaks()
    talk.client.hears(b"GET / HTTP/1.1\r\n")

    assert talk.found == [(Protocol.HTTP1, b"GET / HTTP/1.1\r\n")]


async def test_a_quick_client_is_not_asked_about() -> None:
    talk = Listening()
    talk.client.hears(b"GET / HTTP/1.1\r\n")

    await anyio.sleep(2 * QUIET_SECONDS)

    assert talk.asked == 0


async def test_when_the_client_leaves_the_server_is_let_go() -> None:
    talk = Listening()
    await talk.quiet()

    talk.client.breaks()

    await until(lambda: talk.gone == 1)
    assert talk.server.is_closing()
