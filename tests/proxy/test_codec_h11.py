"""Where h11 and we differ: a complete list, a reason for each, and a search for what is not in it."""

# ruff: noqa: E501 - one line is one row of the table

import re
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.http import ask_h11, mutated, read, requests, responses

HEAD = b"POST / HTTP/1.1\r\nhost: a\r\n"
CHUNKS = HEAD + b"transfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


class Difference(NamedTuple):
    """Something that h11 accepts and we refuse."""

    word: str
    data: bytes
    reason: str


STRICTER = [
    Difference("bare-line-feed", b"GET / HTTP/1.1\nhost: a\r\n\r\n", "RFC 9112 §2.2 permits it; smugglers live on it"),
    Difference("bare-line-feed", CHUNKS + b"0\r\nx: y\n\r\n\r\n", "the same for trailers"),
    Difference("folded-field", HEAD + b"x: y\r\n z\r\n\r\n", "RFC 9112 §5.2: a server may refuse obs-fold"),
    Difference("control-character", HEAD + b"x: a\x01b\r\n\r\n", "RFC 9110 §5.5: invalid and dangerous"),
    Difference("bad-chunk-size", CHUNKS + b"3 \r\nabc\r\n" + END, "RFC 9112 §7.1: a size is digits only"),
    Difference("bad-chunk-size", CHUNKS + b"3;\x00\r\nabc\r\n" + END, "not in the grammar of an extension"),
    Difference("bad-chunk-size", CHUNKS + b"3;x=\ry\r\nabc\r\n" + END, "the same, and a line to some"),
    Difference("bad-chunk-size", CHUNKS + b"0" * 15 + b"3\r\nabc\r\n" + END, "RFC 9112 §7.1: expect overflow"),
    Difference("chunk-line-too-long", CHUNKS + b"3;" + b"x" * 5000 + b"\r\nabc\r\n" + END, "RFC 9112 §7.1.1: limit them"),
    Difference("bad-trailers", CHUNKS + b"0\r\nx: \x01\r\n\r\n", "trailers keep the rules of fields"),
    Difference("two-lengths", HEAD + b"content-length: 1\r\ncontent-length: 1\r\n\r\nx", "RFC 9112 §6.3 (5): may be refused"),
    Difference("bad-length", HEAD + b"content-length: 1, 1\r\n\r\nx", "the same"),
    Difference("length-and-encoding", HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n" + END, "RFC 9112 §6.3 (3): ought to be handled as an error"),
    Difference("encoding-in-http-1.0", b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n" + END, "RFC 9112 §6.1: its framing is faulty"),
    Difference("connect-with-body", b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx", "RFC 9110 §9.3.6: has no meaning"),
    Difference("bad-authority", b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n", "RFC 9112 §3.2: an invalid Host is to be refused"),
    Difference("bad-authority", b"GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n", "RFC 9110 §4.2.4: userinfo is an error"),
    Difference("bad-target", b"GET x HTTP/1.1\r\nhost: a\r\n\r\n", "RFC 9112 §3.2: none of the four forms"),
    Difference("fragment-in-target", b"GET /#x HTTP/1.1\r\nhost: a\r\n\r\n", "RFC 9112 §3.2: a target has no fragment"),
    Difference("unsupported-version", b"GET / HTTP/1.2\r\nhost: a\r\n\r\n", "nobody speaks it honestly"),
    Difference("unsupported-version", b"GET / HTTP/2.0\r\nhost: a\r\n\r\n", "RFC 9113 has another syntax"),
    Difference("too-many-fields", HEAD + b"x: y\r\n" * 200 + b"\r\n", "RFC 9112 §5.4: limit them"),
    Difference("head-too-long", HEAD + b"x: " + b"y" * 70_000 + b"\r\n\r\n", "RFC 9112 §3: limit it"),
]  # fmt: skip


@pytest.mark.parametrize("difference", STRICTER, ids=lambda difference: difference.reason)
def test_h11_accepts_what_we_refuse(difference: Difference) -> None:
    assert ask_h11(difference.data).whole
    assert read([difference.data]).word == difference.word


def test_obs_text_in_a_target_is_all_that_we_accept_and_h11_does_not() -> None:
    # Browsers and curl send it; servers expect it; it means one thing only and is passed on as it came.
    data = b"GET /\xc3\xa4 HTTP/1.1\r\nhost: a\r\n\r\n"

    assert ask_h11(data).error
    assert read([data]).whole


@given(st.one_of(mutated(requests()), mutated(responses())), st.sampled_from([None, b"GET"]))
@settings(max_examples=200, deadline=None)
def test_we_and_h11_differ_in_nothing_else(data: bytes, method: bytes | None) -> None:
    ours, theirs = read([data], method=method), ask_h11(data, method=method)

    if ours.whole and theirs.error:
        assert re.match(rb"[^ ]+ [^ ]*[\x80-\xff]", data)
    elif ours.word and theirs.whole:
        assert ours.word in {difference.word for difference in STRICTER}
    elif ours.whole and theirs.whole:
        assert ours.payload == theirs.body
