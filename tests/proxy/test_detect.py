"""What a connection speaks, told from its first bytes: a table for people, the law for all."""

import asyncio

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.session.detector import Detector
from proxy.transport.detect import LINE_LIMIT, Protocol, detect
from proxy.transport.sweep import Sweep
from tests.support.streams import MemoryStream

TCP, HTTP1, HTTP2 = Protocol.TCP, Protocol.HTTP1, Protocol.HTTP2

TABLE = [
    (b"", None),
    (b"G", None),
    (b"GET", None),
    (b"GET ", None),
    (b"GET /", HTTP1),
    (b"GET /x HTTP/1.1\r\n", HTTP1),
    (b"POST http://a/", None),
    (b"POST http://a/ HTTP/1.", HTTP1),
    (b"CONNECT a:443", None),
    (b"CONNECT a:443 HTTP/1.1\r\n", HTTP1),
    (b"GET x HTTP/1.1\r\n", HTTP1),
    (b"GET http://" + b"a" * 1024, HTTP1),
    (b"GET http://" + b"a" * 2000 + b"\n", HTTP1),
    (b"SET key", None),
    (b"SET key value\r\n", TCP),
    (b"NICK somebody\r\n", TCP),
    (b"servers.web.cpu 42 1700000000\n", TCP),
    (b"GET key\r\nGET / HTTP/1.1\r\n", TCP),
    (b"OPTIONS *", HTTP1),
    (b"M-SEARCH *", HTTP1),
    (b"x /", HTTP1),
    (b"\r", None),
    (b"\r\n", None),
    (b"\r\nGET /", HTTP1),
    (b"PRI", None),
    (b"PRI * HTTP/2.", None),
    (b"PRI * HTTP/2.0", HTTP2),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HTTP2),
    (b"PRI * HTTP/1.1\r\n", HTTP1),
    (b"PRI /", HTTP1),
    (b"PRIV", None),
    (b"\x16\x03\x01\x02\x00\x01", TCP),
    (b"\x00", TCP),
    (b"*1\r\n$4\r\nPING\r\n", TCP),
    (b"PING\r\n", TCP),
    (b"SSH-2.0-OpenSSH_9.6\r\n", TCP),
    (b"EHLO a\r\n", TCP),
    (b"GET\t/", TCP),
    (b"GET  /", TCP),
    (b" GET /", TCP),
    (b"\n", TCP),
    (b"\rx", TCP),
    (b"\r\n\r\n", TCP),
    (b"{}", TCP),
    (b"A" * 23, None),
    (b"A" * 23 + b" /", HTTP1),
    (b"A" * 24, TCP),
    (b"A" * 24 + b" /", TCP),
    ("GET ä HTTP/1.0\r\n".encode(), HTTP1),
]


@pytest.mark.parametrize(("head", "protocol"), TABLE)
def test_first_bytes_tell_the_protocol(head: bytes, protocol: Protocol | None) -> None:
    assert detect(head) is protocol


starts = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([head for head, _ in TABLE]),
    st.from_regex(rb"\A(\r\n)?[A-Z]{0,30} ?[/*a]?.{0,3}( HTTP/1.)?\n?\Z"),
)


@given(starts, st.one_of(st.binary(max_size=8), starts))
@settings(max_examples=300, deadline=None)
def test_more_bytes_never_change_an_answer(head: bytes, more: bytes) -> None:
    answer = detect(head)

    assert answer is None or detect(head + more) is answer


@given(starts)
def test_so_many_bytes_are_always_enough(head: bytes) -> None:
    assert detect(head + b"x" * (LINE_LIMIT + 2)) is not None
    assert detect(head + b"\n" * 27) is not None


class Detection:
    """A detector on a stream in memory, and what it found."""

    def __init__(self) -> None:
        self.stream = MemoryStream()
        self.found: list[tuple[Protocol, bytes]] = []
        self.gone = 0
        self.sweep = Sweep()
        self.detector = Detector(
            self.stream, self.sweep, lambda *what: self.found.append(what), self._left
        )
        self.detector.start()

    def _left(self) -> None:
        self.gone += 1


@pytest.mark.anyio
async def test_bytes_are_kept_for_whoever_reads_on_and_reading_pauses() -> None:
    talk = Detection()
    talk.stream.hears(b"GE", b"T /x", b" HTTP/1.1")

    assert talk.found == [(HTTP1, b"GET /x")]
    assert talk.stream.paused
    assert talk.stream.waiting == 9
    assert not len(talk.sweep)


@pytest.mark.anyio
async def test_a_client_that_waits_for_the_server_to_speak_is_opaque() -> None:
    talk = Detection()
    talk.sweep.look(asyncio.get_running_loop().time() + 9)
    assert talk.found == []
    talk.sweep.look(asyncio.get_running_loop().time() + 11)

    assert talk.found == [(TCP, b"")]


@pytest.mark.anyio
async def test_a_client_that_said_something_and_ended_is_opaque_and_its_end_is_told_again() -> None:
    talk = Detection()
    talk.stream.hears(b"PING")
    talk.stream.hears_end()
    assert talk.found == [(TCP, b"PING")]

    ends: list[bool] = []

    class Next(asyncio.Protocol):
        def eof_received(self) -> bool:
            ends.append(True)
            return True

    talk.stream.set_protocol(Next())
    talk.stream.resume_reading()
    await anyio.lowlevel.checkpoint()
    await anyio.lowlevel.checkpoint()
    assert ends == [True]


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["hears_end", "breaks"])
async def test_a_client_that_leaves_without_a_word_is_gone(how: str) -> None:
    talk = Detection()
    getattr(talk.stream, how)()
    for _ in range(3):
        await anyio.lowlevel.checkpoint()

    assert talk.found == []
    assert talk.gone == 1
    assert not len(talk.sweep)
