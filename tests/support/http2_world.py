"""A world in which HTTP/2 sessions run without sockets, and time passes when a test says so."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import h2.config
import h2.connection
from hpack import Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from proxy.codec.frames import HEAD_SIZE, PREFACE, Code
from proxy.codec.heads import BadMessage, Headers, RequestHead, ResponseHead
from proxy.session.backlog import Backlog
from proxy.session.exchange import Exchange
from proxy.session.host import Server
from proxy.session.http2_client import Http2Client
from proxy.session.http2_server import Http2Server
from proxy.transport.stream import Stream
from proxy.transport.sweep import Sweep
from proxy.transport.tls import Tls
from tests.support.streams import MemoryStream

GET: Headers = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":path", b"/"),
    (b":authority", b"a"),
]
POST: Headers = [(b":method", b"POST"), *GET[1:]]
OK: Headers = [(b":status", b"200")]


class Loop:
    """As much of an event loop as sessions need; it turns when `turn` is called."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._ready: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self.sweep = Sweep()
        self.each_second: list[Callable[[], None]] = []
        """Called while time passes: for those who have to say now and then that they are there."""

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        self._ready.append((callback, args))

    def turn(self) -> None:
        """Call what is to be called, until nothing is left."""
        while self._ready:
            ready, self._ready = self._ready, []
            for callback, args in ready:
                callback(*args)

    def advance(self, seconds: float) -> None:
        """Let time pass, with a look at deadlines each second."""
        until = self._now + seconds
        while self._now < until:
            self._now = min(self._now + 1.0, until)
            self.sweep.look(self._now)
            self.turn()
            for call in self.each_second:
                call()


@contextmanager
def world() -> Iterator[Loop]:
    """A loop that is the running one; afterwards nothing waits anywhere."""
    before = Backlog.total
    loop = Loop()
    asyncio._set_running_loop(cast(asyncio.AbstractEventLoop, loop))
    try:
        yield loop
    finally:
        asyncio._set_running_loop(None)
    assert Backlog.total == before


class Application:
    """Answers one exchange as a test says: a ClientSide."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.body = bytearray()
        self.trailers: Headers | None = None
        self.finished = False
        self.cancelled = False
        self.held = False

    def send(self, data: bytes, end: bool) -> None:
        assert not self.finished
        self.body += data
        if end:
            self.finish([])

    def finish(self, trailers: Headers) -> None:
        self.finished, self.trailers = True, trailers

    def cancel(self) -> None:
        self.cancelled = True

    def hold_response(self, held: bool) -> None:
        self.held = held


class Caller:
    """Hears the response to one exchange: a ServerSide."""

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.interim: list[int] = []
        self.body = bytearray()
        self.trailers: Headers | None = None
        self.finished = False
        self.broken: int | None = None
        self.held = False

    def respond(self, head: ResponseHead, data: bytes, end: bool) -> None:
        assert self.head is None
        self.head = head
        self.send(data, end)

    def inform(self, head: ResponseHead) -> None:
        self.interim.append(head.status)

    def send(self, data: bytes, end: bool) -> None:
        assert self.head is not None
        assert not self.finished
        self.body += data
        if end:
            self.finish([])

    def finish(self, trailers: Headers) -> None:
        self.finished, self.trailers = True, trailers

    def break_off(self, code: int) -> None:
        self.broken = code

    def detach(self) -> tuple[Stream, bytes]:
        raise AssertionError("nothing was upgraded")

    def tunnel_closed(self) -> None:
        raise AssertionError("nothing was upgraded")

    def hold_request(self, held: bool) -> None:
        self.held = held


class Ended:
    """Counts the ends of exchanges."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self._began = 0

    def watch(self, exchange: Exchange) -> None:
        self._began += 1
        exchange.ended = self.exchanges.append

    @property
    def all_once(self) -> bool:
        """Whether everything that began has ended, each once."""
        return len(self.exchanges) == len(set(map(id, self.exchanges))) == self._began


class ServerTalk:
    """A server session, its client in the test's hands: a Host that remembers."""

    def __init__(self, loop: Loop, *, greeted: bool = True, attach: bool = True) -> None:
        self.loop = loop
        self.wire = MemoryStream()
        self.ended = Ended()
        self.applications: list[Application] = []
        self.rejections: list[str] = []
        self.closed_sessions = 0
        self.ledger = Ledger()
        self._attach = attach
        self._encoder = Encoder()
        self.session = Http2Server(self.wire, self, loop.sweep)
        self.session.start()
        if greeted:
            self.hears(PREFACE + SettingsFrame(0).serialize())
            self.says()

    def hears(self, *pieces: bytes) -> None:
        """The client sends."""
        self.wire.hears(*pieces)
        self.loop.turn()

    def asks(self, stream: int, fields: Headers = GET, *, end: bool = True) -> None:
        """The client sends a request."""
        self.hears(headers(stream, self._encoder.encode(fields), end=end))

    def says(self) -> list[str]:
        """What the client was told since it was asked last, in words."""
        self.loop.turn()
        return self.ledger.read(self.wire.says())

    def serve(self, exchange: Exchange) -> None:
        self.ended.watch(exchange)
        application = Application(exchange)
        self.applications.append(application)
        if self._attach:
            exchange.attach(application)

    def rejected(self, error: BadMessage) -> None:
        self.rejections.append(error.word)

    def closed(self, server: Server, *, detached: bool) -> None:
        self.closed_sessions += 1

    def tunnel_closed(self) -> None:
        raise AssertionError("nothing was upgraded")


class ProxyStream(MemoryStream, Tls):
    """What passes for a connection to another proxy: those are the ones behind TLS."""

    def __init__(self) -> None:
        MemoryStream.__init__(self)


class ClientTalk:
    """A client session, its endpoint in the test's hands; `to_proxy`: which is another proxy."""

    def __init__(self, loop: Loop, *, greeted: bool = True, to_proxy: bool = False) -> None:
        self.loop = loop
        self.wire = ProxyStream() if to_proxy else MemoryStream()
        self.ended = Ended()
        self.losses = 0
        self.ledger = Ledger()
        self._encoder = Encoder()
        self.session = Http2Client(self.wire, loop.sweep, self._lost)
        if greeted:
            self.hears(SettingsFrame(0).serialize())
            self.says()

    def _lost(self, client: Http2Client) -> None:
        self.losses += 1

    def ask(self, method: bytes = b"GET", *, end: bool = True) -> Caller:
        """Carry a request; the end of its body may come later."""
        caller = Caller()
        exchange = Exchange(RequestHead(method, b"/", b"a", []), caller, self.loop.time())
        exchange.request_done = end
        self.ended.watch(exchange)
        self.session.carry(exchange)
        self.exchange = exchange
        return caller

    def hears(self, *pieces: bytes) -> None:
        """The endpoint sends."""
        self.wire.hears(*pieces)
        self.loop.turn()

    def answers(self, stream: int, fields: Headers = OK, *, end: bool = True) -> None:
        """The endpoint sends a head, or trailers."""
        self.hears(headers(stream, self._encoder.encode(fields), end=end))

    def says(self) -> list[str]:
        """What the endpoint was told since it was asked last, in words."""
        self.loop.turn()
        return self.ledger.read(self.wire.says().removeprefix(PREFACE))


Talk = TypeVar("Talk", ServerTalk, ClientTalk)


@contextmanager
def ending(talk: Talk) -> Iterator[Talk]:
    """A talk whose connection breaks at the end; afterwards nothing is left of whatever happened."""
    yield talk
    talk.wire.breaks()
    talk.loop.turn()
    assert talk.ended.all_once
    assert (talk.closed_sessions if isinstance(talk, ServerTalk) else talk.losses) == 1
    assert talk.session not in talk.loop.sweep._timed


class Ledger:
    """Frames in words, as hyperframe reads them; sums up the data of each stream."""

    def __init__(self) -> None:
        self.data: dict[int, bytes] = {}
        self._rest = b""

    def read(self, said: bytes) -> list[str]:
        """Whole frames, one line each."""
        said, words = self._rest + said, []
        while len(said) >= HEAD_SIZE:
            frame, length = Frame.parse_frame_header(memoryview(said[:HEAD_SIZE]))
            if len(said) < HEAD_SIZE + length:
                break
            frame.parse_body(memoryview(said[HEAD_SIZE : HEAD_SIZE + length]))
            said = said[HEAD_SIZE + length :]
            if isinstance(frame, DataFrame):
                self.data[frame.stream_id] = self.data.get(frame.stream_id, b"") + frame.data
            words.append(_in_words(frame))
        self._rest = said
        return words


def _in_words(frame: Frame) -> str:
    name = type(frame).__name__.removesuffix("Frame").upper()
    end = " end" if "END_STREAM" in frame.flags else ""
    if isinstance(frame, DataFrame):
        return f"DATA {frame.stream_id} {len(frame.data)}{end}"
    if isinstance(frame, HeadersFrame):
        return f"HEADERS {frame.stream_id}{end}"
    if isinstance(frame, RstStreamFrame):
        return f"RST_STREAM {frame.stream_id} {Code(frame.error_code).name}"
    if isinstance(frame, GoAwayFrame):
        debug = frame.additional_data.decode()
        words = f"GOAWAY {frame.last_stream_id} {Code(frame.error_code).name} {debug}"
        return words.rstrip()
    if isinstance(frame, WindowUpdateFrame):
        return f"WINDOW_UPDATE {frame.stream_id} {frame.window_increment}"
    if isinstance(frame, SettingsFrame | PingFrame):
        return f"{name} ack" if "ACK" in frame.flags else name
    assert not isinstance(frame, PushPromiseFrame)
    return f"{name} {frame.stream_id}"


def headers(stream: int, block: bytes, *, end: bool) -> bytes:
    """A HEADERS frame with a whole block."""
    frame = HeadersFrame(stream, block)
    frame.flags.add("END_HEADERS")
    if end:
        frame.flags.add("END_STREAM")
    return frame.serialize()


def data(stream: int, body: bytes, *, end: bool = False, padding: int = 0) -> bytes:
    """A DATA frame."""
    frame = DataFrame(stream, body, pad_length=padding)
    if end:
        frame.flags.add("END_STREAM")
    if padding:
        frame.flags.add("PADDED")
    return frame.serialize()


def reset(stream: int, code: Code = Code.CANCEL) -> bytes:
    """A RST_STREAM frame."""
    return RstStreamFrame(stream, code).serialize()


def window(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return WindowUpdateFrame(stream, increment).serialize()


def settings(**values: int) -> bytes:
    """A SETTINGS frame: `settings(INITIAL_WINDOW_SIZE=0)`."""
    numbers = {getattr(SettingsFrame, name): value for name, value in values.items()}
    return SettingsFrame(0, settings=numbers).serialize()


def oracle(*, client: bool) -> h2.connection.H2Connection:
    """An endpoint that somebody else wrote; bytes in, bytes out."""
    return h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=client, header_encoding=None)
    )
