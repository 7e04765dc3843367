"""What header lists mean in HTTP/2: pseudo-header fields to heads and back (RFC 9113 §8).

Malformed lists raise Malformed with a word; a session answers with a stream error, as §8.1.1 asks.
"""

import re

from common.errors import MeshError
from proxy.codec.heads import NO_BODY, UNKNOWN, Headers, RequestHead, ResponseHead, Trailers

ORIGINAL = b"tulle-orig-proto"
"""Between proxies: this request came as HTTP/1.1 and goes to the application as HTTP/1.1 again."""
HTTP1: Headers = [(ORIGINAL, b"HTTP/1.1")]
HTTP1_ABSOLUTE: Headers = [(ORIGINAL, b"HTTP/1.1; absolute-form")]

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
# RFC 9113 §8.2.1: no NUL, CR, LF; no blanks at the ends. RFC 9110 §5.5 forbids the other controls.
_VALUE = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9113 §8.3.1: path and query; a fragment is nothing that a server should see.
_PATH = re.compile(rb"/[!\"$-~\x80-\xff]*|\*")
_AUTHORITY = re.compile(
    rb"(?:(?:\[[0-9A-Fa-f:.%]+\]|[0-9A-Za-z\-._~%!$&'()*+;=]+)(?::[0-9]{0,5})?)?"
)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_FORBIDDEN = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
# RFC 9110 §6.5.1: fields that frame, route or authenticate a message mean nothing after its body.
_NEVER_TRAILERS = frozenset(
    (
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"host",
        b"te",
        b"trailer",
        b"tulle-client-id",
        ORIGINAL,
    )
)
_REQUEST_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))


class Malformed(MeshError):
    """A header list that breaks RFC 9113 §8; `word` names the rule."""

    reason = "malformed-message"

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


def read_request(fields: Headers, *, end: bool) -> RequestHead:
    """The head that a header list is; `end` says that no body follows. Raises Malformed."""
    pseudo, headers = _split(fields, _REQUEST_PSEUDO)
    method = pseudo.get(b":method", b"")
    if not _METHOD.fullmatch(method):
        raise Malformed("method")
    hosts = [value for name, value in headers if name == b"host"]
    if hosts:
        headers = [field for field in headers if field[0] != b"host"]
    authority = pseudo.get(b":authority") or (hosts[0] if hosts else b"")
    # RFC 9113 §8.3.1: two that differ would mean one thing to us and another to the application.
    if any(host != authority for host in hosts) or not _AUTHORITY.fullmatch(authority):
        raise Malformed("authority")
    if method == b"CONNECT":
        if b":path" in pseudo or b":scheme" in pseudo or not authority:
            raise Malformed("connect")
        target = authority
    else:
        target = pseudo.get(b":path", b"")
        if b":scheme" not in pseudo or not _PATH.fullmatch(target):
            raise Malformed("path")
        if target == b"*" and method != b"OPTIONS":
            raise Malformed("path")
    return RequestHead(
        method,
        target,
        authority,
        _joined_cookies(headers),
        body=_request_body(headers, end=end),
        expects_continue=(b"expect", b"100-continue") in headers,
        protocol="grpc" if _is_grpc(headers) else "http/2",
    )


def read_response(fields: Headers, *, end: bool, method: bytes) -> ResponseHead:
    """The head of a response to a request with `method`. Raises Malformed."""
    pseudo, headers = _split(fields, frozenset((b":status",)))
    text = pseudo.get(b":status", b"")
    if len(text) != 3 or not text.isdigit() or text < b"100":
        raise Malformed("status")
    status = int(text)
    if status == 101 or (status < 200 and end):
        raise Malformed("interim-response")
    length = _length(headers)
    if status < 200 or status == 204:
        # RFC 9110 §8.6: such a response has no length to tell.
        headers = [field for field in headers if field[0] != b"content-length"]
        return ResponseHead(status, headers)
    if method == b"HEAD" or status == 304:
        return ResponseHead(status, headers)
    if end and length > 0:
        raise Malformed("content-length")
    return ResponseHead(status, headers, body=length)


def read_trailers(fields: Headers) -> Trailers:
    """The fields of a trailer section, without those that have no place there. Raises Malformed."""
    trailers = _split(fields, frozenset())[1]
    return Trailers([field for field in trailers if field[0] not in _NEVER_TRAILERS])


def request_fields(head: RequestHead, extra: Headers | tuple[()] = ()) -> Headers:
    """A request as a header list, with `extra` fields at its end."""
    if head.method == b"CONNECT":
        first = [(b":method", b"CONNECT"), (b":authority", head.authority)]
    else:
        first = [
            (b":method", head.method),
            (b":scheme", b"http"),
            (b":path", head.target),
            (b":authority", head.authority),
        ]
    return [*first, *head.headers, *extra]


def response_fields(head: ResponseHead) -> Headers:
    """A response as a header list."""
    return [(b":status", b"%d" % head.status), *head.headers]


def _split(fields: Headers, known: frozenset[bytes]) -> tuple[dict[bytes, bytes], Headers]:
    """Pseudo-header fields, and the others; each checked."""
    pseudo: dict[bytes, bytes] = {}
    at = 0
    for name, value in fields:
        if name[:1] != b":":
            break
        if name not in known or name in pseudo or not _VALUE.fullmatch(value):
            raise Malformed("pseudo-header")
        pseudo[name] = value
        at += 1
    headers = fields[at:]
    for name, value in headers:
        if not _NAME.fullmatch(name):
            raise Malformed("field-name")
        if not _VALUE.fullmatch(value):
            raise Malformed("field-value")
        if name in _FORBIDDEN or (name == b"te" and value != b"trailers"):
            raise Malformed("connection-field")
    return pseudo, headers


def _request_body(headers: Headers, *, end: bool) -> int:
    length = _length(headers)
    if not end:
        return length
    # RFC 9113 §8.1.1; in HTTP/1.1 the application would wait for it, and take the next request for it.
    if length > 0:
        raise Malformed("content-length")
    return NO_BODY


def _length(headers: Headers) -> int:
    """What `content-length` says; UNKNOWN if it is not there."""
    lengths = [value for name, value in headers if name == b"content-length"]
    if not lengths:
        return UNKNOWN
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise Malformed("content-length")
    return int(lengths[0])


def _joined_cookies(headers: Headers) -> Headers:
    """RFC 9113 §8.2.3: crumbs of a cookie are one field again for whoever speaks HTTP/1.1."""
    crumbs = [value for name, value in headers if name == b"cookie"]
    if len(crumbs) < 2:
        return headers
    rest = [field for field in headers if field[0] != b"cookie"]
    return [*rest, (b"cookie", b"; ".join(crumbs))]


def _is_grpc(headers: Headers) -> bool:
    return any(n == b"content-type" and v.startswith(b"application/grpc") for n, v in headers)
