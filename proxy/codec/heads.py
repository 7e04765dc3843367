"""What a request and a response are, whatever version of HTTP carried them.

Heads hold end-to-end fields only: what belongs to one connection (`connection`, `keep-alive`,
`transfer-encoding`, `upgrade`, …; RFC 9110 §7.6.1) is taken out when a head is read and made anew
when it is written. Heads are shared and remembered: they are replaced, never changed.
"""

from typing import Any, Literal

from common.errors import MeshError

Headers = list[tuple[bytes, bytes]]
"""Field names in lower case, and values without white space around them, in order of arrival."""


class Trailers(list[tuple[bytes, bytes]]):
    """Headers that end a message, with what was worked out about them: they come again and again."""

    __slots__ = ("block", "grpc_status")

    def __init__(self, fields: Headers) -> None:
        super().__init__(fields)
        self.block: bytes | None = None
        """The header block that they are in HTTP/2."""
        self.grpc_status: int | None = None


NO_BODY = 0
Manner = Literal["tunnel", "http/2", "grpc", "absolute", "origin"]
"""How a request is to be carried: as a connection of its own, as a stream of HTTP/2, or as HTTP/1.1 with
its target in absolute-form or origin-form."""
UNKNOWN = -1
"""A body that ends when its framing says so: chunked, a stream, or the end of the connection."""
NOT_READ = -1.0


class BadMessage(MeshError):
    """What arrived is not HTTP as RFC 9112 defines it; `word` names the rule that it broke."""

    reason = "bad-message"

    def __init__(self, word: str, status: int = 400) -> None:
        super().__init__(word)
        self.word = word
        self.status = status


class RequestHead:
    """The head of a request."""

    __slots__ = (
        "absolute",
        "authority",
        "block",
        "body",
        "expects_continue",
        "headers",
        "keep_alive",
        "line",
        "manner",
        "method",
        "minor",
        "onward",
        "protocol",
        "target",
        "timeout",
        "upgrade",
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        authority: bytes,
        headers: Headers,
        *,
        body: int = NO_BODY,
        minor: int = 1,
        keep_alive: bool = True,
        expects_continue: bool = False,
        upgrade: bytes = b"",
        absolute: bool = False,
        protocol: str = "http/1.1",
    ) -> None:
        self.method = method
        self.target = target
        """Origin-form (`/path?query`), `*`, or for CONNECT the authority."""
        self.authority = authority
        """From the target if that was absolute (RFC 9112 §3.2.2), else from the Host field."""
        self.headers = headers
        self.body = body
        """Length in bytes, NO_BODY or UNKNOWN."""
        self.minor = minor
        """The client speaks HTTP/1.`minor`."""
        self.keep_alive = keep_alive
        self.expects_continue = expects_continue
        self.upgrade = upgrade
        """The protocol that the client would rather speak (`websocket`); empty if none."""
        self.absolute = absolute
        """The target came in absolute-form, as to a forward proxy."""
        self.protocol = protocol
        """What it is counted as: `http/1.1`, `http/2` or `grpc`."""
        self.manner = _manner(self)
        self.timeout: float | None = NOT_READ
        """Seconds that a gRPC call may take, once somebody has looked; None: for ever."""
        self.onward: RequestHead | None = None
        """This head as the one who serves it passes it on, if that was worked out before."""
        self.line: tuple[object, bytes] | None = None
        """What this head was last written as in HTTP/1.1, and what was added to it then."""
        self.block: tuple[object, bytes] | None = None
        """The same in HTTP/2: a header block."""

    def __repr__(self) -> str:
        return f"<Request {self.method.decode()} {self.authority.decode()} {self.target.decode('latin-1')}>"

    def get(self, name: bytes) -> bytes | None:
        """The value of the first field called `name` (lower case)."""
        for field, value in self.headers:
            if field == name:
                return value
        return None

    def replaced(self, **changes: Any) -> "RequestHead":
        """A head like this one but for `changes`."""
        copy = object.__new__(RequestHead)
        for slot in RequestHead.__slots__:
            setattr(copy, slot, changes.get(slot, getattr(self, slot)))
        copy.onward = copy.line = copy.block = None
        copy.manner = _manner(copy)
        copy.timeout = NOT_READ
        return copy


def _manner(request: RequestHead) -> Manner:
    if request.upgrade or request.method == b"CONNECT":
        return "tunnel"
    if request.protocol != "http/1.1":
        return "grpc" if request.protocol == "grpc" else "http/2"
    return "absolute" if request.absolute else "origin"


class ResponseHead:
    """The head of a response."""

    __slots__ = (
        "block",
        "body",
        "headers",
        "keep_alive",
        "line",
        "minor",
        "phrase",
        "status",
        "until_close",
        "upgrade",
    )

    def __init__(
        self,
        status: int,
        headers: Headers,
        *,
        body: int = NO_BODY,
        phrase: bytes = b"",
        minor: int = 1,
        keep_alive: bool = True,
        upgrade: bytes = b"",
        until_close: bool = False,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        """Length in bytes, NO_BODY or UNKNOWN."""
        self.phrase = phrase
        self.minor = minor
        self.keep_alive = keep_alive
        """The server will take another request on the same connection."""
        self.upgrade = upgrade
        """With status 101: the protocol that is spoken from here on."""
        self.until_close = until_close
        """The body ends when the connection does (HTTP/1.0's way)."""
        self.line: tuple[object, bytes] | None = None
        """What this head was last written as in HTTP/1.1, and how."""
        self.block: bytes | None = None
        """The header block that this head is in HTTP/2."""

    def __repr__(self) -> str:
        return f"<Response {self.status} body={self.body}>"

    def get(self, name: bytes) -> bytes | None:
        """The value of the first field called `name` (lower case)."""
        for field, value in self.headers:
            if field == name:
                return value
        return None
