"""Generated HTTP/1.1 messages, and how the two parsers that must agree are asked."""

from typing import NamedTuple

import h11
from hypothesis import strategies as st

from proxy.codec import http1
from proxy.codec.body import reader
from proxy.codec.heads import BadMessage, Headers, RequestHead, ResponseHead

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_KNOWN = (*("connection", "content-length", "expect", "host", "te", "transfer-encoding"), "upgrade")

names = st.one_of(
    st.sampled_from(["Accept", "cookie", "X-Y", "Content-Type", "trailer", "a", "keep-alive"]),
    st.text(TOKEN, min_size=1, max_size=12).filter(lambda name: name.lower() not in _KNOWN),
).map(str.encode)
_visible = st.integers(0x21, 0xFF).filter(lambda code: code != 0x7F).map(lambda code: bytes([code]))
_inner = st.one_of(_visible, st.sampled_from([b" ", b"\t"]))
values = st.builds(
    lambda first, rest: (first + b"".join(rest)).strip(b" \t"),
    st.one_of(st.just(b""), _visible),
    st.lists(_inner, max_size=12),
)
fields = st.lists(st.tuples(names, values), max_size=6)
hosts = st.sampled_from([b"a", b"books.shop:8000", b"[::1]:80", b"10.0.0.1", b"A-b.example", b""])
methods = st.sampled_from(
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PURGE", b"M-X"]
)
targets = st.one_of(
    st.text("abc/?&=%~.;:@!$'()*+,-_[]{}|\\^`\"<>0", max_size=20).map(
        lambda text: b"/" + text.encode()
    ),
    st.sampled_from([b"http://books", b"http://books:80/x?y", b"HTTP://b?q", b"/"]),
)
bodies = st.lists(st.binary(min_size=1, max_size=30), max_size=4)
blank = st.sampled_from([b"", b" ", b"\t", b" \t "])


class Message(NamedTuple):
    """A message as bytes, and what it means."""

    data: bytes
    start: bytes
    """Method and target, or the status."""
    fields: Headers
    """All fields, names in lower case."""
    body: bytes
    trailers: Headers


@st.composite
def requests(draw: st.DrawFn) -> Message:
    """A valid request, spelled in any of the ways that RFC 9112 allows."""
    method, target = draw(methods), draw(targets)
    lines = [(b"Host", draw(hosts)), *draw(fields)]
    lines += draw(st.lists(st.sampled_from(_OPTIONS), max_size=1))
    framing, wire, body, trailers = draw(framed())
    head = draw(spelled([*lines, *framing]))
    data = b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, target, head, wire)
    return Message(data, b"%b %b" % (method, target), lowered([*lines, *framing]), body, trailers)


_OPTIONS = (
    (b"Connection", b"close"),
    (b"connection", b"keep-alive, x-y"),
    (b"Expect", b"100-continue"),
    (b"TE", b"trailers"),
)


@st.composite
def responses(draw: st.DrawFn) -> Message:
    """A valid final response to a GET, with a framing of its own."""
    status = draw(st.integers(200, 599).filter(lambda status: status not in (204, 304)))
    phrase = draw(st.sampled_from([b" OK", b" ", b" No Such Thing", b" \xe4\xf6", b""]))
    lines = draw(fields)
    framing, wire, body, trailers = draw(framed(always=True))
    head = draw(spelled([*lines, *framing]))
    data = b"HTTP/1.1 %d%b\r\n%b\r\n%b" % (status, phrase, head, wire)
    return Message(data, b"%d" % status, lowered([*lines, *framing]), body, trailers)


@st.composite
def framed(draw: st.DrawFn, *, always: bool = False) -> tuple[Headers, bytes, bytes, Headers]:
    """Framing fields, the body on the wire, the body, and trailers."""
    pieces = draw(bodies)
    body = b"".join(pieces)
    kind = draw(st.sampled_from(["length", "chunked"] if always else ["none", "length", "chunked"]))
    if kind == "none":
        return [], b"", b"", []
    if kind == "length":
        return [(b"Content-Length", b"%d" % len(body))], body, body, []
    trailers = [(name.lower(), value) for name, value in draw(fields)]
    trailers = [field for field in trailers if field[0] not in http1._NEVER_TRAILERS]
    size = draw(st.sampled_from([b"%x", b"%X", b"0%x", b"000%x"]))
    extension = draw(st.sampled_from([b"", b";x", b";x=y", b';x="y z"']))
    chunks = b"".join(size % len(p) + extension + b"\r\n" + p + b"\r\n" for p in pieces)
    end = b"0%b\r\n%b\r\n" % (extension, draw(spelled(trailers)))
    return (
        [(b"Transfer-Encoding", draw(st.sampled_from([b"chunked", b"Chunked"])))],
        chunks + end,
        body,
        trailers,
    )


@st.composite
def spelled(draw: st.DrawFn, lines: Headers) -> bytes:
    """Fields with white space wherever it is allowed."""
    return b"".join(
        b"%b:%b%b%b\r\n" % (name, draw(blank), value, draw(blank)) for name, value in lines
    )


_DAMAGE = (
    *(b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b",", b"\0", b";", b"0", b"\xff", b"chunked"),
    *(b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"),
)


@st.composite
def mutated(draw: st.DrawFn, messages: st.SearchStrategy[Message]) -> bytes:
    """A valid message in which a few bytes were changed, doubled, or taken out."""
    data = bytearray(draw(messages).data)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        piece = draw(st.sampled_from(_DAMAGE))
        data[at : at + draw(st.integers(0, 2))] = piece
    return bytes(data)


@st.composite
def split(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The same bytes in pieces."""
    cuts = sorted(draw(st.sets(st.integers(0, len(data)), max_size=12)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def lowered(lines: Headers) -> Headers:
    return [(name.lower(), value) for name, value in lines]


class Read(NamedTuple):
    """What our codec makes of bytes: everything that a session would learn from them."""

    heads: tuple[object, ...]
    payload: bytes
    trailers: Headers
    whole: bool
    rest: bytes
    word: str
    """The rule that was broken; empty if none was."""


def _values(head: RequestHead | ResponseHead) -> tuple[tuple[str, object], ...]:
    """What a head says, without what it remembers."""
    remembered = ("block", "line", "manner", "onward", "timeout")
    return tuple((name, getattr(head, name)) for name in head.__slots__ if name not in remembered)


def read(pieces: list[bytes], *, method: bytes | None = None) -> Read:
    """Read one request, or the response to `method`, from pieces, as sessions do. Keeps track of memory."""
    buffer, seen, payload = b"", 0, b""
    head: object = ()
    body = None
    rest = b""
    for at, piece in enumerate(pieces):
        buffer += piece
        try:
            if body is None:
                length = http1.find_head(buffer, seen)
                if not length:
                    seen = len(buffer)
                    assert seen <= http1.HEAD_LIMIT
                    continue
                if method is None:
                    request = http1.parse_request(buffer[:length])
                    head = _values(request)
                    size, chunked = request.body, True
                else:
                    response = http1.parse_response(buffer[:length], method)
                    head = _values(response)
                    size, chunked = response.body, not response.until_close
                buffer = buffer[length:]
                body = reader(size, chunked=chunked)
            more, buffer, ended = body.feed(buffer)
            payload += more
            if ended:
                rest = buffer + b"".join(pieces[at + 1 :])
                return Read((head,), payload, body.trailers, True, rest, "")
            assert len(buffer) <= http1.HEAD_LIMIT
        except BadMessage as error:
            return Read((head,), payload, [], False, b"", error.word)
    return Read((head,), payload, [], False, rest, "")


class Heard(NamedTuple):
    """What h11 makes of the same bytes."""

    start: bytes
    fields: Headers
    body: bytes
    trailers: Headers
    whole: bool
    error: str
    keep_alive: bool


def ask_h11(data: bytes, *, method: bytes | None = None, ended: bool = False) -> Heard:
    """Let h11 read a request, or the response to `method`; `ended`: the connection ended behind it."""
    peer = h11.Connection(
        h11.SERVER if method is None else h11.CLIENT, max_incomplete_event_size=1 << 20
    )
    if method is not None:
        peer.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        peer.send(h11.EndOfMessage())
    start, lines, body, trailers, whole = b"", [], b"", [], False
    try:
        peer.receive_data(data)
        if ended:
            peer.receive_data(b"")
        while True:
            event = peer.next_event()
            if isinstance(event, h11.Request):
                start = b"%b %b" % (event.method, event.target)
                lines = list(event.headers)
            elif isinstance(event, h11.Response):
                start, lines = b"%d" % event.status_code, list(event.headers)
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                trailers, whole = list(event.headers), True
                break
            elif event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                break
    except h11.RemoteProtocolError as error:
        return Heard(start, lines, body, trailers, False, str(error) or "refused", False)
    state = peer.their_state
    return Heard(start, lines, body, trailers, whole, "", state is not h11.MUST_CLOSE)


def end_to_end(lines: Headers) -> Headers:
    """The fields that outlive a hop, by the field `connection` and RFC 9110 §7.6.1."""
    nominated = {
        token.strip().lower()
        for name, value in lines
        if name == b"connection"
        for token in value.split(b",")
    }
    hop = {
        b"connection",
        b"host",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
        b"upgrade",
    }
    return [
        field for field in lines if field[0] not in (hop | nominated) - {b"content-length", b"te"}
    ]
