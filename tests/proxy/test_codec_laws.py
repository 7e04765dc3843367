"""Laws of the HTTP/1.1 codec: splitting changes nothing, h11 understands the same, nothing but BadMessage."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.codec import http1
from proxy.codec.heads import UNKNOWN, Headers, RequestHead, ResponseHead
from tests.support.http import (
    Message,
    ask_h11,
    end_to_end,
    fields,
    hosts,
    methods,
    mutated,
    read,
    requests,
    responses,
    split,
)

few = settings(max_examples=40, deadline=None)
more = settings(max_examples=100, deadline=None)


anything = st.one_of(
    mutated(requests()),
    mutated(responses()),
    st.binary(max_size=80),
    st.text(max_size=60).map(str.encode),
)


@given(st.data())
@more
def test_however_a_message_is_split_it_means_the_same(data: Any) -> None:
    whole = data.draw(st.one_of(mutated(requests()), mutated(responses())))
    method = data.draw(st.sampled_from([None, b"GET", b"HEAD"]))
    pieces = data.draw(split(whole))

    assert unequal(read([whole], method=method), read(pieces, method=method)) == []


@given(mutated(requests()))
@few
def test_a_message_byte_by_byte_means_the_same(whole: bytes) -> None:
    pieces = [whole[at : at + 1] for at in range(len(whole))]

    assert unequal(read([whole]), read(pieces)) == []


def unequal(one: Any, other: Any) -> list[str]:
    """Where two readings differ. What a bad body held before its fault may be noticed sooner or later."""
    names = [name for name in one._fields if getattr(one, name) != getattr(other, name)]
    return [name for name in names if not (name == "payload" and one.word)]


@given(anything, st.sampled_from([None, b"GET", b"HEAD", b"CONNECT"]))
@more
def test_nothing_but_bad_message_comes_of_any_bytes(data: bytes, method: bytes | None) -> None:
    read([data], method=method)
    read([data, data], method=method)


@given(requests())
@more
def test_a_valid_request_means_what_h11_says(message: Message) -> None:
    ours, theirs = read([message.data]), ask_h11(message.data)
    head = dict(ours.heads[0])  # type: ignore[call-overload]

    assert not ours.word
    assert ours.whole
    assert not theirs.error
    assert ours.payload == theirs.body == message.body
    assert ours.trailers == theirs.trailers == message.trailers
    assert head["headers"] == end_to_end(theirs.fields) == end_to_end(message.fields)
    assert head["method"] == theirs.start.split()[0]
    assert origin_form(theirs.start) == head["target"]
    assert head["keep_alive"] == theirs.keep_alive


def origin_form(start: bytes) -> bytes:
    method, target = start.split(b" ")
    if target[:1] == b"/":
        return target
    parts = urlsplit(target.decode())
    path = parts.path or ("*" if method == b"OPTIONS" and not parts.query else "/")
    return (f"{path}?{parts.query}" if parts.query else path).encode()


@given(responses())
@more
def test_a_valid_response_means_what_h11_says(message: Message) -> None:
    ours, theirs = read([message.data], method=b"GET"), ask_h11(message.data, method=b"GET")
    head = dict(ours.heads[0])  # type: ignore[call-overload]

    assert not ours.word
    assert ours.whole
    assert not theirs.error
    assert b"%d" % head["status"] == theirs.start == message.start
    assert ours.payload == theirs.body == message.body
    assert ours.trailers == theirs.trailers == message.trailers
    assert head["headers"] == end_to_end(theirs.fields)
    assert head["keep_alive"] == theirs.keep_alive


@given(requests(), hosts)
@more
def test_a_request_that_we_write_is_read_by_h11_to_the_same_meaning(
    message: Message, host: bytes
) -> None:
    ours = read([message.data])
    head = dict(ours.heads[0])  # type: ignore[call-overload]
    request = RequestHead(**head)

    written = http1.write_request(request, [(b"x-extra", b"1")])
    body = chunked(message) if request.body == UNKNOWN else message.body
    theirs = ask_h11(written + body)

    assert not theirs.error
    assert theirs.whole
    origin = b"http://" + request.authority if request.absolute else b""
    assert theirs.start == b"%b %b%b" % (request.method, origin, request.target)
    assert theirs.body == message.body
    assert theirs.trailers == message.trailers
    assert end_to_end(theirs.fields) == [*request.headers, (b"x-extra", b"1")]
    assert dict(theirs.fields)[b"host"] == request.authority


@given(responses())
@more
def test_a_response_that_we_write_is_read_by_h11_to_the_same_meaning(message: Message) -> None:
    ours = read([message.data], method=b"GET")
    response = ResponseHead(**dict(ours.heads[0]))  # type: ignore[call-overload]
    is_chunked = response.body == UNKNOWN

    written = http1.write_response(response, chunked=is_chunked, connection=b"close")
    theirs = ask_h11(written + (chunked(message) if is_chunked else message.body), method=b"GET")

    assert not theirs.error
    assert theirs.whole
    assert theirs.start == message.start
    assert theirs.body == message.body
    assert theirs.trailers == message.trailers
    assert end_to_end(theirs.fields) == response.headers
    assert not theirs.keep_alive


def chunked(message: Message) -> bytes:
    data = http1.write_chunk(message.body) if message.body else b""
    return data + http1.write_last_chunk(message.trailers)


@given(methods, fields, st.sampled_from([b"", b"websocket"]))
@few
def test_what_is_written_is_read_again(method: bytes, lines: Headers, upgrade: bytes) -> None:
    lines = [(name.lower(), value) for name, value in lines if name.lower() != b"keep-alive"]
    head = RequestHead(method, b"/x?y", b"a:80", lines, body=UNKNOWN, upgrade=upgrade)

    again = http1.parse_request(http1.write_request(head))

    for name in set(head.__slots__) - {"block", "line", "onward", "timeout"}:
        assert getattr(again, name) == getattr(head, name), name


@pytest.mark.parametrize(
    "trailer",
    [
        b"content-length: 3",
        b"transfer-encoding: chunked",
        b"host: b",
        b"tulle-client-id: x",
        b"Authorization: y",
    ],
)
def test_a_trailer_that_would_frame_route_or_authenticate_is_dropped(trailer: bytes) -> None:
    assert http1.parse_trailers(b"x: y\r\n" + trailer + b"\r\n\r\n") == [(b"x", b"y")]
