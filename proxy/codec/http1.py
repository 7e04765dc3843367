"""HTTP/1.1 heads: bytes to values and back (RFC 9112), strict where a smuggler would like us lenient.

One anchored expression accepts exactly the grammar; what does not match is refused with a word that
says which rule it broke. Laws, tested against h11: whatever parses here means the same there; how the
input is split into pieces changes nothing.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus

from proxy.codec.heads import (
    NO_BODY,
    UNKNOWN,
    BadMessage,
    Headers,
    RequestHead,
    ResponseHead,
)

HEAD_LIMIT = 64 * 1024
"""Bytes of a head at most, start line and fields together."""
FIELD_LIMIT = 128
"""Fields of a head at most."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# RFC 9110 §5.5: visible characters, blanks, tabs and obs-text; never CR, LF, NUL or other controls.
_VALUE = rb"[\t -~\x80-\xff]*"
_FIELDS = rb"((?:" + _TOKEN + rb":" + _VALUE + rb"\r\n)*)\r\n"
# RFC 9112 §3.2: a target has no fragment; obs-text in it is passed on as it came, as servers expect.
_TARGET = rb"[!\"$-~\x80-\xff]+"
_REQUEST = re.compile(rb"(" + _TOKEN + rb") (" + _TARGET + rb") HTTP/1\.([01])\r\n" + _FIELDS)
_RESPONSE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: (" + _VALUE + rb"))?\r\n" + _FIELDS)
_FIELD = re.compile(rb"([^:\r\n]+):[ \t]*([^\r\n]*)\r\n")
_ABSOLUTE = re.compile(rb"(?i:http)://([^/?#]+)([/?].*)?")
_HOST = rb"(?:\[[0-9A-Fa-f:.%]+\]|[0-9A-Za-z\-._~%!$&'()*+;=]+)"
# RFC 9110 §7.2: a Host field may be empty. §4.2.1: an http URI's host may not.
_HOST_FIELD = re.compile(rb"(?:" + _HOST + rb"(?::[0-9]{0,5})?)?")
_AUTHORITY = re.compile(_HOST + rb"(?::[0-9]{0,5})?")
# RFC 9110 §9.3.6: CONNECT names a port.
_TUNNEL = re.compile(_HOST + rb":[0-9]{1,5}")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_BARE_LF = re.compile(rb"(?<!\r)\n")
# HTTP/2 has no phrases. RFC 9112 §4 allows none here, too, but there are clients that count on one.
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}

# What concerns one connection only, or is told by the framing (RFC 9110 §7.6.1).
_CONNECTION_FIELDS = frozenset(
    (
        b"connection",
        b"host",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    )
)
# RFC 9110 §6.5.1: fields that frame, route or authenticate a message mean nothing after its body.
_NEVER_TRAILERS = _CONNECTION_FIELDS | {
    b"content-length",
    b"authorization",
    b"content-encoding",
    b"content-type",
    b"content-range",
    b"trailer",
    b"tulle-client-id",
}


def find_head(buffer: bytes, seen: int = 0) -> int:
    """The length of the head at the start of `buffer`, or 0 while its end has not come yet.

    Of the first `seen` bytes it was said before that they hold no end, and they are not looked at again.
    Raises BadMessage as soon as no continuation could be a head: a line that ends in a bare LF, or too
    long.
    """
    end = buffer.find(b"\r\n\r\n", max(seen - 3, 0), HEAD_LIMIT) + 4
    if end > 3:
        return end
    if _BARE_LF.search(buffer, seen, HEAD_LIMIT):
        raise BadMessage("bare-line-feed")
    if len(buffer) >= HEAD_LIMIT:
        raise BadMessage("head-too-long", 431)
    return 0


def parse_request(head: bytes) -> RequestHead:
    """Read the head of a request (as long as `find_head` said); raises BadMessage."""
    match = _REQUEST.fullmatch(head)
    if match is None:
        raise BadMessage(_why(head))
    method, target, minor, fields = match.groups()
    headers, special = _read_fields(fields)
    version = 1 if minor == b"1" else 0
    hosts = special.get(b"host", ())
    if len(hosts) > 1:
        raise BadMessage("two-hosts")
    if version and not hosts:
        raise BadMessage("no-host")
    authority = hosts[0] if hosts else b""
    if not _HOST_FIELD.fullmatch(authority):
        raise BadMessage("bad-authority")
    absolute = False
    if method == b"CONNECT":
        authority = target
        if not _TUNNEL.fullmatch(authority):
            raise BadMessage("bad-authority")
    elif target[0] != 0x2F and not (target == b"*" and method == b"OPTIONS"):
        absolute = True
        authority, target = _absolute_form(method, target)
    body = _framing(special, version)
    if body is None:
        body = NO_BODY
    elif method == b"CONNECT":
        # RFC 9110 §9.3.6: it has no content; what follows the head belongs to the tunnel.
        raise BadMessage("connect-with-body")
    tokens = _tokens(special.get(b"connection", ()))
    return RequestHead(
        method,
        target,
        authority,
        _without(headers, tokens) if tokens else headers,
        body=body,
        minor=version,
        keep_alive=_keeps_alive(tokens, version),
        expects_continue=bool(version) and b"100-continue" in _tokens(special.get(b"expect", ())),
        upgrade=_upgrade(special, tokens) if version else b"",
        absolute=absolute,
    )


def _absolute_form(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Authority and origin-form of a target in absolute-form (RFC 9112 §3.2.2); raises BadMessage."""
    whole = _ABSOLUTE.fullmatch(target)
    if whole is None:
        raise BadMessage("bad-target")
    authority, path = whole.groups()
    if not _AUTHORITY.fullmatch(authority):
        raise BadMessage("bad-authority")
    if not path:
        # RFC 9112 §3.2.4: the server itself is meant.
        return authority, b"*" if method == b"OPTIONS" else b"/"
    return authority, path if path[0] == 0x2F else b"/" + path


def parse_response(head: bytes, method: bytes) -> ResponseHead:
    """Read the head of a response to a request with `method`; raises BadMessage.

    `body` is UNKNOWN when the body is chunked, or ends with the connection, as `until_close` says.
    """
    match = _RESPONSE.fullmatch(head)
    if match is None:
        raise BadMessage(_why(head))
    minor, status_text, phrase, fields = match.groups()
    status = int(status_text)
    headers, special = _read_fields(fields)
    version = 1 if minor == b"1" else 0
    tokens = _tokens(special.get(b"connection", ()))
    keep_alive = _keeps_alive(tokens, version)
    # RFC 9110 §7.8: in any other response it is an offer to us, not to the client.
    upgrade = _upgrade(special, tokens) if status in (101, 426) else b""
    body = _framing(special, version)
    until_close = False
    if status < 200 or status == 204 or (method == b"CONNECT" and status < 300):
        # RFC 9110 §8.6: such a response has no length to tell.
        headers = [field for field in headers if field[0] != b"content-length"]
        body = NO_BODY
    elif method == b"HEAD" or status == 304:
        body = NO_BODY
    elif body is None:
        # RFC 9112 §6.3 (8): it ends with the connection.
        body, keep_alive, until_close = UNKNOWN, False, True
    return ResponseHead(
        status,
        _without(headers, tokens) if tokens else headers,
        body=body,
        phrase=phrase or b"",
        minor=version,
        keep_alive=keep_alive,
        upgrade=upgrade,
        until_close=until_close,
    )


def write_request(head: RequestHead, extra: Headers | tuple[()] = ()) -> bytes:
    """The head of a request as it goes to a server, with `extra` fields at its end."""
    if head.line is not None and head.line[0] is extra:
        return head.line[1]
    target = b"http://%b%b" % (head.authority, head.target) if head.absolute else head.target
    lines = [b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (head.method, target, head.authority)]
    lines += [b"%b: %b\r\n" % field for field in head.headers]
    lines += [b"%b: %b\r\n" % field for field in extra]
    if head.body == UNKNOWN:
        lines.append(b"transfer-encoding: chunked\r\n")
    if head.upgrade:
        lines.append(b"connection: upgrade\r\nupgrade: %b\r\n" % head.upgrade)
    lines.append(b"\r\n")
    written = b"".join(lines)
    head.line = (extra, written)
    return written


def write_response(head: ResponseHead, *, chunked: bool, connection: bytes = b"") -> bytes:
    """The head of a response as it goes to a client.

    `chunked` announces chunks; `connection` is `close`, `keep-alive` (for HTTP/1.0) or nothing.
    """
    how = (chunked, connection)
    if head.line is not None and head.line[0] == how:
        return head.line[1]
    phrase = head.phrase or _PHRASES.get(head.status, b"")
    lines = [b"HTTP/1.1 %d %b\r\n" % (head.status, phrase)]
    lines += [b"%b: %b\r\n" % field for field in head.headers]
    if chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    if head.upgrade:
        lines.append(b"upgrade: %b\r\n" % head.upgrade)
        # RFC 9110 §7.8: a 101 says nothing of the connection but that; 426 is a response like others.
        connection = b"upgrade, " + connection if connection and head.status != 101 else b"upgrade"
    if connection:
        lines.append(b"connection: %b\r\n" % connection)
    lines.append(b"\r\n")
    written = b"".join(lines)
    head.line = (how, written)
    return written


def write_chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; `data` must not be empty."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def write_last_chunk(trailers: Headers | tuple[()] = ()) -> bytes:
    """The end of a chunked body, with trailers."""
    if not trailers:
        return b"0\r\n\r\n"
    return b"0\r\n%b\r\n" % b"".join(b"%b: %b\r\n" % field for field in trailers)


def parse_trailers(section: bytes) -> Headers:
    """Read a trailer section (ending in its empty line); raises BadMessage.

    Fields that could mislead whoever reads them after the body are dropped (RFC 9110 §6.5.1).
    """
    if not _TRAILERS.fullmatch(section):
        raise BadMessage("bare-line-feed" if _BARE_LF.search(section) else "bad-trailers")
    fields = [(name.lower(), value.rstrip(b" \t")) for name, value in _FIELD.findall(section)]
    if len(fields) > FIELD_LIMIT:
        raise BadMessage("too-many-fields", 431)
    return [field for field in fields if field[0] not in _NEVER_TRAILERS]


_TRAILERS = re.compile(_FIELDS)
_Special = dict[bytes, list[bytes]]
_SPECIAL = _CONNECTION_FIELDS | {b"content-length", b"expect"}


def _read_fields(section: bytes) -> tuple[Headers, _Special]:
    """The end-to-end fields, and those that this connection must know about by name."""
    headers: Headers = []
    special: _Special = {}
    pairs = _FIELD.findall(section)
    if len(pairs) > FIELD_LIMIT:
        raise BadMessage("too-many-fields", 431)
    for raw, value in pairs:
        name = raw.lower()
        if value[-1:] in (b" ", b"\t"):
            value = value.rstrip(b" \t")
        if name in _SPECIAL:
            special.setdefault(name, []).append(value)
            # RFC 9110 §10.1.4: of TE only `trailers` survives a hop.
            if name == b"te" and b"trailers" in value.lower():
                headers.append((name, b"trailers"))
            if name in _CONNECTION_FIELDS:
                continue
        headers.append((name, value))
    return headers, special


def _framing(special: _Special, minor: int) -> int | None:
    """The body's length, UNKNOWN if chunked, None if nothing is said (RFC 9112 §6)."""
    encodings = special.get(b"transfer-encoding")
    lengths = special.get(b"content-length")
    if encodings:
        # RFC 9112 §6.3: a sender must not send both; a proxy that guesses is a smuggler's friend.
        if lengths:
            raise BadMessage("length-and-encoding")
        if not minor:
            raise BadMessage("encoding-in-http-1.0")
        if len(encodings) > 1 or encodings[0].lower() != b"chunked":
            raise BadMessage("unknown-transfer-encoding")
        return UNKNOWN
    if lengths:
        if len(lengths) > 1:
            raise BadMessage("two-lengths")
        if not _LENGTH.fullmatch(lengths[0]):
            raise BadMessage("bad-length")
        return int(lengths[0])
    return None


def _tokens(values: Iterable[bytes]) -> set[bytes]:
    return {part.strip().lower() for value in values for part in value.split(b",")}


def _keeps_alive(tokens: set[bytes], minor: int) -> bool:
    return b"close" not in tokens if minor else b"keep-alive" in tokens


def _upgrade(special: _Special, tokens: set[bytes]) -> bytes:
    """The protocols on offer. h2c is never one: its requests would pass by unseen (RFC 9113 §3.1)."""
    offered = special.get(b"upgrade", ()) if b"upgrade" in tokens else ()
    return b"" if b"h2c" in _tokens(offered) else b", ".join(offered)


# What a `connection` field may not take out: it would change what the message is (RFC 9110 §7.6.1).
_NEVER_NOMINATED = frozenset(
    (b"content-length", b"cache-control", b"authorization", b"tulle-client-id")
)


def _without(headers: Headers, nominated: set[bytes]) -> Headers:
    nominated = nominated - _NEVER_NOMINATED - {b"te"}
    return [field for field in headers if field[0] not in nominated]


_RULES: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("bare-line-feed", _BARE_LF),
    ("bare-carriage-return", re.compile(rb"\r(?!\n)")),
    ("control-character", re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")),
    ("folded-field", re.compile(rb"\r\n[ \t]")),
    ("space-before-colon", re.compile(rb"\r\n[^:\r\n]*[ \t]:")),
    ("fragment-in-target", re.compile(rb"\A[^ \r\n]+ [^ #\r\n]*#")),
    ("unsupported-version", re.compile(rb"\A[^\r\n]* HTTP/(?!1\.[01]\r)[0-9.]+\r\n")),
)


def _why(head: bytes) -> str:
    """The word for a head that is not in the grammar."""
    for word, pattern in _RULES:
        if pattern.search(head):
            return word
    line, _, rest = head.partition(b"\r\n")
    is_start = re.fullmatch(_TOKEN + rb" " + _TARGET + rb" HTTP/1\.[01]", line) or re.match(
        rb"HTTP/1\.[01] [1-9][0-9][0-9]", line
    )
    return "bad-field" if is_start and rest else "bad-start-line"
