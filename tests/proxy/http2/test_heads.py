"""What header lists mean in HTTP/2: which are heads, which are malformed, and that nothing is smuggled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.codec import http1, http2
from proxy.codec.heads import NO_BODY, UNKNOWN, Headers, RequestHead
from proxy.codec.http2 import Malformed
from tests.support.http2_world import GET, OK, POST


def request(*more: tuple[bytes, bytes], end: bool = True) -> RequestHead:
    return http2.read_request([*GET, *more], end=end)


def without(fields: Headers, name: bytes) -> Headers:
    return [field for field in fields if field[0] != name]


MALFORMED = {
    "no method": without(GET, b":method"),
    "no scheme": without(GET, b":scheme"),
    "no path": without(GET, b":path"),
    "an empty path": [*without(GET, b":path"), (b":path", b"")],
    "a path that is none": [*without(GET, b":path"), (b":path", b"a")],
    "a path with a blank": [*without(GET, b":path"), (b":path", b"/a b")],
    "a path with a fragment": [*without(GET, b":path"), (b":path", b"/a#b")],
    "an asterisk that is not for OPTIONS": [*without(GET, b":path"), (b":path", b"*")],
    "a method twice": [GET[0], *GET],
    "a pseudo-header field of responses": [(b":status", b"200"), *GET],
    "an unknown pseudo-header field": [(b":protocol", b"websocket"), *GET],
    "a pseudo-header field after others": [*without(GET, b":path"), (b"a", b"b"), (b":path", b"/")],
    "a name in upper case": [*GET, (b"X-A", b"b")],
    "an empty name": [*GET, (b"", b"b")],
    "a name with a colon": [*GET, (b"a:", b"b")],
    "a value with a line feed": [*GET, (b"a", b"b\nc")],
    "a value with a carriage return": [*GET, (b"a", b"b\rc")],
    "a value with NUL": [*GET, (b"a", b"\0")],
    "a value that begins with a blank": [*GET, (b"a", b" b")],
    "a value that ends with a tab": [*GET, (b"a", b"b\t")],
    "connection": [*GET, (b"connection", b"close")],
    "keep-alive": [*GET, (b"keep-alive", b"1")],
    "proxy-connection": [*GET, (b"proxy-connection", b"close")],
    "transfer-encoding": [*GET, (b"transfer-encoding", b"chunked")],
    "upgrade": [*GET, (b"upgrade", b"h2c")],
    "te other than trailers": [*GET, (b"te", b"gzip")],
    "two hosts": [*GET, (b"host", b"b")],
    "an authority with user information": [*GET[:3], (b":authority", b"me@a")],
    "an authority with a slash": [*GET[:3], (b":authority", b"a/b")],
    "an authority without a host": [*GET[:3], (b":authority", b":80")],
    "two lengths": [*POST, (b"content-length", b"1"), (b"content-length", b"1")],
    "a length that is none": [*POST, (b"content-length", b"+1")],
    "a length without a body": [*POST, (b"content-length", b"5")],
    "CONNECT with a path": [(b":method", b"CONNECT"), (b":authority", b"a:1"), (b":path", b"/")],
    "CONNECT to nowhere": [(b":method", b"CONNECT")],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_a_list_that_is_no_request_is_malformed(fields: Headers) -> None:
    with pytest.raises(Malformed):
        http2.read_request(fields, end=True)


def test_a_request_is_read() -> None:
    head = request((b"a", b"b"), (b"cookie", b"c=1"), (b"cookie", b"d=2"), (b"te", b"trailers"))

    assert (head.method, head.target, head.authority) == (b"GET", b"/", b"a")
    assert head.headers == [(b"a", b"b"), (b"te", b"trailers"), (b"cookie", b"c=1; d=2")]
    assert head.body == NO_BODY


def test_a_host_field_stands_in_for_the_authority() -> None:
    fields = [*without(GET, b":authority"), (b"host", b"a:80")]

    head = http2.read_request(fields, end=True)

    assert head.authority == b"a:80"
    assert not head.headers


@pytest.mark.parametrize(
    ("fields", "end", "body"),
    [
        ([], True, NO_BODY),
        ([], False, UNKNOWN),
        ([(b"content-length", b"0")], True, NO_BODY),
        ([(b"content-length", b"7")], False, 7),
    ],
)
def test_a_request_says_how_long_its_body_is(fields: Headers, end: bool, body: int) -> None:
    assert http2.read_request([*POST, *fields], end=end).body == body


@pytest.mark.parametrize(
    ("status", "fields", "end", "method", "body"),
    [
        (b"200", [], False, b"GET", UNKNOWN),
        # Of unknown length, though known to be empty: HTTP/1.1 must be told by chunks that it has ended.
        (b"200", [], True, b"GET", UNKNOWN),
        (b"200", [(b"content-length", b"0")], True, b"GET", 0),
        (b"200", [(b"content-length", b"7")], False, b"GET", 7),
        (b"200", [(b"content-length", b"7")], True, b"HEAD", NO_BODY),
        (b"200", [(b"content-length", b"7")], False, b"HEAD", NO_BODY),
        (b"304", [(b"content-length", b"7")], True, b"GET", NO_BODY),
        (b"204", [], True, b"GET", NO_BODY),
        (b"100", [], False, b"GET", NO_BODY),
    ],
)
def test_a_response_says_how_long_its_body_is(
    status: bytes, fields: Headers, end: bool, method: bytes, body: int
) -> None:
    head = http2.read_response([(b":status", status), *fields], end=end, method=method)

    assert head.body == body
    assert head.status == int(status)
    assert head.headers == fields


def test_a_response_that_has_no_length_to_tell_tells_none() -> None:
    fields = [(b":status", b"204"), (b"content-length", b"0"), (b"a", b"b")]

    assert http2.read_response(fields, end=True, method=b"GET").headers == [(b"a", b"b")]


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b":status", b"20")],
        [(b":status", b"099")],
        [(b":status", b"2OO")],
        [(b":status", b"101")],
        [(b":status", b"103")],
        [*OK, *OK],
        [*OK, (b":path", b"/")],
        [*OK, (b"connection", b"close")],
        [*OK, (b"content-length", b"1")],
        [*OK, (b"content-length", b"1"), (b"content-length", b"2")],
    ],
    ids=str,
)
def test_a_list_that_is_no_response_is_malformed(fields: Headers) -> None:
    with pytest.raises(Malformed):
        http2.read_response(fields, end=True, method=b"GET")


def test_trailers_have_no_pseudo_header_fields() -> None:
    with pytest.raises(Malformed):
        http2.read_trailers(OK)


def test_trailers_that_would_change_the_message_are_taken_out() -> None:
    fields = [(b"content-length", b"9"), (b"tulle-client-id", b"me"), (b"grpc-status", b"0")]

    assert http2.read_trailers(fields) == [(b"grpc-status", b"0")]


NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=8).map(str.encode)
# RFC 9110 §5.5: what HTTP/1.1 lets a value be.
TEXT = st.binary(max_size=20).map(
    lambda raw: bytes(byte for byte in raw if byte in b"\t " or 0x20 < byte != 0x7F).strip(b"\t ")
)
FIELDS = st.lists(st.tuples(NAMES, TEXT), max_size=6)


@given(FIELDS, st.sampled_from([b"GET", b"POST", b"PURGE"]), st.booleans())
def test_a_request_means_the_same_when_it_is_passed_on(
    fields: Headers, method: bytes, absolute: bool
) -> None:
    """HTTP/1.1 in, HTTP/2 between the proxies, HTTP/1.1 out."""
    target = b"http://a/b?c=\xff" if absolute else b"/b?c=\xff"
    lines = b"".join(b"%b: %b\r\n" % field for field in fields if field[0] not in http1._SPECIAL)
    head = http1.parse_request(b"%b %b HTTP/1.1\r\nhost: a\r\n%b\r\n" % (method, target, lines))

    there = http2.read_request(http2.request_fields(head), end=True)

    assert (there.method, there.target, there.authority) == (head.method, b"/b?c=\xff", b"a")
    assert sorted(there.headers) == sorted(http2._joined_cookies(head.headers))


@given(
    st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12)), max_size=6), st.booleans()
)
def test_what_passes_for_a_request_is_one_in_http1_too(fields: Headers, end: bool) -> None:
    """Nothing that comes in by HTTP/2 is read by an HTTP/1.1 server as something else."""
    try:
        head = http2.read_request([*POST, *fields], end=end)
    except Malformed:
        return

    there = http1.parse_request(http1.write_request(head))

    assert (there.method, there.target, there.authority) == (
        head.method,
        head.target,
        head.authority,
    )
    # A body that does not come must not be announced, and one of unknown length comes in chunks.
    assert there.body == head.body
    assert there.headers == head.headers
