"""What smugglers send: each is answered with 400 (or 408, 431), the connection closed, and nothing passed on.

The table is for people: name, bytes, the word that the answer gives in `tulle-error`.
"""

# ruff: noqa: E501 - one line is one row of the table

from typing import NamedTuple

import pytest

from tests.support.conversation import Conversation, conversation, settled

pytestmark = pytest.mark.anyio


class Attempt(NamedTuple):
    """What a smuggler tries."""

    name: str
    data: bytes
    word: str
    status: int = 400


POST = b"POST / HTTP/1.1\r\nhost: a\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
SNEAKED = b"0\r\n\r\nGET /admin HTTP/1.1\r\nhost: a\r\n\r\n"


def fields(*lines: bytes, start: bytes = b"POST / HTTP/1.1", host: bytes = b"host: a") -> bytes:
    """A whole head, with a request behind it that must not be seen as one."""
    return b"\r\n".join((start, *((host,) if host else ()), *lines, b"", b"")) + SNEAKED


def start(line: bytes, *lines: bytes) -> bytes:
    return fields(*lines, start=line)


LENGTH_AND_ENCODING = [
    Attempt("length, then encoding", fields(b"content-length: 5", b"transfer-encoding: chunked"), "length-and-encoding"),
    Attempt("encoding, then length", fields(b"transfer-encoding: chunked", b"content-length: 5"), "length-and-encoding"),
    Attempt("encoding and length 0", fields(b"Transfer-Encoding: chunked", b"Content-Length: 0"), "length-and-encoding"),
    Attempt("bad encoding and length", fields(b"transfer-encoding: xchunked", b"content-length: 5"), "length-and-encoding"),
    Attempt("encoding and length, nominated", fields(b"connection: content-length", b"transfer-encoding: chunked", b"content-length: 5"), "length-and-encoding"),
    Attempt("encoding nominated away", fields(b"connection: transfer-encoding", b"transfer-encoding: chunked", b"content-length: 5"), "length-and-encoding"),
    Attempt("two encodings", fields(b"transfer-encoding: chunked", b"transfer-encoding: identity"), "unknown-transfer-encoding"),
    Attempt("two encodings, odd case", fields(b"Transfer-Encoding: chunked", b"tRANSFER-eNCODING: cow"), "unknown-transfer-encoding"),
    Attempt("chunked twice", fields(b"transfer-encoding: chunked", b"transfer-encoding: chunked"), "unknown-transfer-encoding"),
    Attempt("chunked, chunked", fields(b"transfer-encoding: chunked, chunked"), "unknown-transfer-encoding"),
    Attempt("chunked, identity", fields(b"transfer-encoding: chunked, identity"), "unknown-transfer-encoding"),
    Attempt("identity, chunked", fields(b"transfer-encoding: identity, chunked"), "unknown-transfer-encoding"),
    Attempt("gzip, chunked", fields(b"transfer-encoding: gzip, chunked"), "unknown-transfer-encoding"),
    Attempt("identity", fields(b"transfer-encoding: identity"), "unknown-transfer-encoding"),
    Attempt("xchunked", fields(b"transfer-encoding: xchunked"), "unknown-transfer-encoding"),
    Attempt("chunkedx", fields(b"transfer-encoding: chunkedx"), "unknown-transfer-encoding"),
    Attempt("quoted", fields(b'transfer-encoding: "chunked"'), "unknown-transfer-encoding"),
    Attempt("comma before", fields(b"transfer-encoding: ,chunked"), "unknown-transfer-encoding"),
    Attempt("comma behind", fields(b"transfer-encoding: chunked,"), "unknown-transfer-encoding"),
    Attempt("parameter", fields(b"transfer-encoding: chunked;q=1"), "unknown-transfer-encoding"),
    Attempt("empty encoding", fields(b"transfer-encoding:"), "unknown-transfer-encoding"),
    Attempt("dotless i", fields(b"transfer-encoding: chun\xe2\x84\xaaed"), "unknown-transfer-encoding"),
    Attempt("vertical tab", fields(b"transfer-encoding:\x0bchunked"), "control-character"),
    Attempt("form feed", fields(b"transfer-encoding: chunked\x0c"), "control-character"),
    Attempt("NUL behind", fields(b"transfer-encoding: chunked\x00"), "control-character"),
    Attempt("carriage return before", fields(b"transfer-encoding:\rchunked"), "bare-carriage-return"),
    Attempt("no-break space", fields(b"transfer-encoding: \xa0chunked"), "unknown-transfer-encoding"),
    Attempt("encoding in HTTP/1.0", start(b"POST / HTTP/1.0", b"transfer-encoding: chunked"), "encoding-in-http-1.0"),
    Attempt("folded encoding", fields(b"transfer-encoding:", b" chunked"), "folded-field"),
    Attempt("folded with a tab", fields(b"transfer-encoding:", b"\tchunked"), "folded-field"),
    Attempt("hidden in a fold", fields(b"x: y", b" transfer-encoding: chunked"), "folded-field"),
    Attempt("space before the colon", fields(b"transfer-encoding : chunked"), "space-before-colon"),
    Attempt("tab before the colon", fields(b"transfer-encoding\t: chunked"), "space-before-colon"),
    Attempt("space before a length's colon", fields(b"content-length : 5"), "space-before-colon"),
    Attempt("underscore in a name with a space", fields(b"transfer encoding: chunked"), "bad-field"),
]  # fmt: skip

LENGTHS = [
    Attempt("two lengths", fields(b"content-length: 5", b"content-length: 6"), "two-lengths"),
    Attempt("the same length twice", fields(b"content-length: 5", b"content-length: 5"), "two-lengths"),
    Attempt("two lengths, odd case", fields(b"Content-Length: 5", b"cONTENT-lENGTH: 0"), "two-lengths"),
    Attempt("a list of lengths", fields(b"content-length: 5, 6"), "bad-length"),
    Attempt("a list of one length", fields(b"content-length: 5, 5"), "bad-length"),
    Attempt("a length and a comma", fields(b"content-length: 5,"), "bad-length"),
    Attempt("plus", fields(b"content-length: +5"), "bad-length"),
    Attempt("minus", fields(b"content-length: -5"), "bad-length"),
    Attempt("minus nought", fields(b"content-length: -0"), "bad-length"),
    Attempt("hexadecimal", fields(b"content-length: 0x5"), "bad-length"),
    Attempt("hexadecimal digit", fields(b"content-length: a"), "bad-length"),
    Attempt("underscore", fields(b"content-length: 1_0"), "bad-length"),
    Attempt("fraction", fields(b"content-length: 5.0"), "bad-length"),
    Attempt("exponent", fields(b"content-length: 5e1"), "bad-length"),
    Attempt("space within", fields(b"content-length: 1 0"), "bad-length"),
    Attempt("quoted length", fields(b'content-length: "5"'), "bad-length"),
    Attempt("empty length", fields(b"content-length:"), "bad-length"),
    Attempt("64 bits and more", fields(b"content-length: 18446744073709551616"), "bad-length"),
    Attempt("a thousand digits", fields(b"content-length: " + b"1" * 1000), "bad-length"),
    Attempt("digits of another script", fields("content-length: ٥".encode()), "bad-length"),
    Attempt("superscript", fields(b"content-length: \xb2"), "bad-length"),
    Attempt("NUL in a length", fields(b"content-length: 5\x00"), "control-character"),
    Attempt("folded length", fields(b"content-length: 1", b" 0"), "folded-field"),
]  # fmt: skip

LINES = [
    Attempt("bare line feed, start line", b"GET / HTTP/1.1\nhost: a\r\n\r\n", "bare-line-feed"),
    Attempt("bare line feed, field", b"GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n", "bare-line-feed"),
    Attempt("bare line feeds only", b"GET / HTTP/1.1\nhost: a\n\n", "bare-line-feed"),
    Attempt("line feed ends the head", b"GET / HTTP/1.1\r\nhost: a\r\n\n", "bare-line-feed"),
    Attempt("line feed before the request", b"\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", "bare-line-feed"),
    Attempt("bare carriage return in a value", fields(b"x: y\rtransfer-encoding: chunked"), "bare-carriage-return"),
    Attempt("bare carriage return, start line", b"GET / HTTP/1.1\rx\r\nhost: a\r\n\r\n", "bare-carriage-return"),
    Attempt("two carriage returns", fields(b"x: y\r"), "bare-carriage-return"),
    Attempt("NUL in a value", fields(b"x: y\x00z"), "control-character"),
    Attempt("NUL in a name", fields(b"x\x00: y"), "control-character"),
    Attempt("delete", fields(b"x: \x7f"), "control-character"),
    Attempt("escape", fields(b"x: \x1b[0m"), "control-character"),
    Attempt("backspace in a name", fields(b"x\x08: y"), "control-character"),
    Attempt("a field without a name", fields(b": y"), "bad-field"),
    Attempt("a field without a colon", fields(b"host"), "bad-field"),
    Attempt("a name in brackets", fields(b"(x): y"), "bad-field"),
    Attempt("obs-text in a name", fields(b"x\xff: y"), "bad-field"),
    Attempt("quotes in a name", fields(b'"x": y'), "bad-field"),
    Attempt("first field begins with a space", b"GET / HTTP/1.1\r\n host: a\r\n\r\n", "folded-field"),
    Attempt("first field begins with a tab", b"GET / HTTP/1.1\r\n\thost: a\r\n\r\n", "folded-field"),
    Attempt("folded field", fields(b"x: y", b" z"), "folded-field"),
    Attempt("a line of blanks", fields(b"x: y", b"  "), "folded-field"),
]  # fmt: skip

START_LINES = [
    Attempt("HTTP/0.9", b"GET /\r\n\r\n", "bad-start-line"),
    Attempt("HTTP/2.0", start(b"GET / HTTP/2.0"), "unsupported-version"),
    Attempt("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "unsupported-version"),
    Attempt("HTTP/1.2", start(b"GET / HTTP/1.2"), "unsupported-version"),
    Attempt("HTTP/1.10", start(b"GET / HTTP/1.10"), "unsupported-version"),
    Attempt("HTTP/01.1", start(b"GET / HTTP/01.1"), "unsupported-version"),
    Attempt("HTTP/1", start(b"GET / HTTP/1"), "unsupported-version"),
    Attempt("http/1.1", start(b"GET / http/1.1"), "bad-start-line"),
    Attempt("HTTP/1,1", start(b"GET / HTTP/1,1"), "bad-start-line"),
    Attempt("ICAP/1.0", start(b"GET / ICAP/1.0"), "bad-start-line"),
    Attempt("two spaces", start(b"GET  / HTTP/1.1"), "bad-start-line"),
    Attempt("two spaces before the version", start(b"GET /  HTTP/1.1"), "bad-start-line"),
    Attempt("a tab for a space", start(b"GET\t/ HTTP/1.1"), "bad-start-line"),
    Attempt("space before the method", start(b" GET / HTTP/1.1"), "bad-start-line"),
    Attempt("space behind the version", start(b"GET / HTTP/1.1 "), "bad-start-line"),
    Attempt("a space in the target", start(b"GET /a b HTTP/1.1"), "bad-start-line"),
    Attempt("no target", start(b"GET HTTP/1.1"), "bad-start-line"),
    Attempt("a colon in the method", start(b"GE:T / HTTP/1.1"), "bad-start-line"),
    Attempt("brackets in the method", start(b"(GET) / HTTP/1.1"), "bad-start-line"),
    Attempt("obs-text in the method", start(b"G\xc9T / HTTP/1.1"), "bad-start-line"),
    Attempt("NUL in the target", start(b"GET /\x00 HTTP/1.1"), "control-character"),
    Attempt("a fragment", start(b"GET /a#b HTTP/1.1"), "fragment-in-target"),
    Attempt("no slash", start(b"GET a HTTP/1.1"), "bad-target"),
    Attempt("asterisk with GET", start(b"GET * HTTP/1.1"), "bad-target"),
    Attempt("another scheme", start(b"GET https://a/ HTTP/1.1"), "bad-target"),
    Attempt("a scheme alone", start(b"GET http:///path HTTP/1.1"), "bad-target"),
    Attempt("authority-form with GET", start(b"GET a:80 HTTP/1.1"), "bad-target"),
    Attempt("userinfo", start(b"GET http://b@a/ HTTP/1.1"), "bad-authority"),
    Attempt("userinfo with a password", start(b"GET http://b:c@a/ HTTP/1.1"), "bad-authority"),
    Attempt("no host in an absolute target", start(b"GET http://:80/ HTTP/1.1"), "bad-authority"),
    Attempt("a backslash in the authority", start(b"GET http://a\\b/ HTTP/1.1"), "bad-authority"),
    Attempt("a port of letters", start(b"GET http://a:b/ HTTP/1.1"), "bad-authority"),
    Attempt("CONNECT without a port", start(b"CONNECT a HTTP/1.1"), "bad-authority"),
    Attempt("CONNECT with an empty port", start(b"CONNECT a: HTTP/1.1"), "bad-authority"),
    Attempt("CONNECT with a path", start(b"CONNECT /a HTTP/1.1"), "bad-authority"),
    Attempt("CONNECT with userinfo", start(b"CONNECT b@a:443 HTTP/1.1"), "bad-authority"),
    Attempt("CONNECT with a length", start(b"CONNECT a:443 HTTP/1.1", b"content-length: 5"), "connect-with-body"),
    Attempt("CONNECT with chunks", start(b"CONNECT a:443 HTTP/1.1", b"transfer-encoding: chunked"), "connect-with-body"),
]  # fmt: skip

HOSTS = [
    Attempt("no host", fields(host=b""), "no-host"),
    Attempt("two hosts", fields(b"host: b"), "two-hosts"),
    Attempt("the same host twice", fields(b"Host: a"), "two-hosts"),
    Attempt("a list of hosts", fields(host=b"host: a, b"), "bad-authority"),
    Attempt("a space in the host", fields(host=b"host: a b"), "bad-authority"),
    Attempt("a slash in the host", fields(host=b"host: a/b"), "bad-authority"),
    Attempt("userinfo in the host", fields(host=b"host: b@a"), "bad-authority"),
    Attempt("a question mark in the host", fields(host=b"host: a?b"), "bad-authority"),
    Attempt("a bad port in the host", fields(host=b"host: a:8o"), "bad-authority"),
    Attempt("a port of six digits", fields(host=b"host: a:100000"), "bad-authority"),
    Attempt("two colons", fields(host=b"host: a:80:80"), "bad-authority"),
    Attempt("half a bracket", fields(host=b"host: [::1"), "bad-authority"),
    Attempt("obs-text in the host", fields(host=b"host: \xe4"), "bad-authority"),
    Attempt("a bad host beside an absolute target", fields(start=b"GET http://a/ HTTP/1.1", host=b"host: a b"), "bad-authority"),
    Attempt("no host beside an absolute target", fields(start=b"GET http://a/ HTTP/1.1", host=b""), "no-host"),
    Attempt("host hidden by its colon", b"GET / HTTP/1.1\r\nhost : a\r\n\r\n", "space-before-colon"),
]  # fmt: skip

TOO_MUCH = [
    Attempt("start line too long", b"GET /" + b"a" * 70_000, "head-too-long", 431),
    Attempt("field too long", POST + b"x: " + b"y" * 70_000, "head-too-long", 431),
    Attempt("head too long by one", POST + b"x: " + b"y" * (64 * 1024 - len(POST) - 6) + b"\r\n\r\n", "head-too-long", 431),
    Attempt("too many fields", fields(*[b"x: y"] * 128), "too-many-fields", 431),
    Attempt("a flood of tiny fields", POST + b"x:\r\n" * 16_000 + b"\r\n", "too-many-fields", 431),
]  # fmt: skip

HEADS = [*LENGTH_AND_ENCODING, *LENGTHS, *LINES, *START_LINES, *HOSTS, *TOO_MUCH]

BODIES = [
    Attempt("plus", CHUNKED + b"+5\r\nhello\r\n", "bad-chunk-size"),
    Attempt("minus", CHUNKED + b"-5\r\nhello\r\n", "bad-chunk-size"),
    Attempt("0x", CHUNKED + b"0x5\r\nhello\r\n", "bad-chunk-size"),
    Attempt("underscore", CHUNKED + b"1_0\r\nhello\r\n", "bad-chunk-size"),
    Attempt("space before", CHUNKED + b" 5\r\nhello\r\n", "bad-chunk-size"),
    Attempt("space behind", CHUNKED + b"5 \r\nhello\r\n", "bad-chunk-size"),
    Attempt("tab behind", CHUNKED + b"5\t\r\nhello\r\n", "bad-chunk-size"),
    Attempt("space before an extension", CHUNKED + b"5 ;x\r\nhello\r\n", "bad-chunk-size"),
    Attempt("empty size", CHUNKED + b"\r\nhello\r\n", "bad-chunk-size"),
    Attempt("extension without a size", CHUNKED + b";x\r\nhello\r\n", "bad-chunk-size"),
    Attempt("not hexadecimal", CHUNKED + b"g\r\nhello\r\n", "bad-chunk-size"),
    Attempt("64 bits", CHUNKED + b"FFFFFFFFFFFFFFFF\r\nhello\r\n", "bad-chunk-size"),
    Attempt("64 bits and more", CHUNKED + b"10000000000000005\r\nhello\r\n", "bad-chunk-size"),
    Attempt("noughts without end", CHUNKED + b"0" * 20 + b"5\r\nhello\r\n", "bad-chunk-size"),
    Attempt("line feed behind the size", CHUNKED + b"5\nhello\r\n", "bad-chunk-size"),
    Attempt("line feed in an extension", CHUNKED + b"5;a\nb\r\nhello\r\n", "bad-chunk-size"),
    Attempt("carriage return in an extension", CHUNKED + b"5;a\rb\r\nhello\r\n", "bad-chunk-size"),
    Attempt("NUL in an extension", CHUNKED + b"5;\x00\r\nhello\r\n", "bad-chunk-size"),
    Attempt("extension too long", CHUNKED + b"5;" + b"x" * 5000 + b"\r\nhello\r\n", "chunk-line-too-long"),
    Attempt("chunk longer than said", CHUNKED + b"5\r\nhello!\r\n", "bad-chunk-end"),
    Attempt("chunk shorter than said", CHUNKED + b"5\r\nhell\r\n0\r\n\r\n", "bad-chunk-end"),
    Attempt("no CRLF behind a chunk", CHUNKED + b"5\r\nhello0\r\n\r\n", "bad-chunk-end"),
    Attempt("line feed behind a chunk", CHUNKED + b"5\r\nhello\n0\r\n\r\n", "bad-chunk-end"),
    Attempt("carriage return alone behind a chunk", CHUNKED + b"5\r\nhello\r0\r\n\r\n", "bad-chunk-end"),
    Attempt("space in a trailer's name", CHUNKED + b"0\r\nx : y\r\n\r\n", "bad-trailers"),
    Attempt("folded trailer", CHUNKED + b"0\r\nx: y\r\n z\r\n\r\n", "bad-trailers"),
    Attempt("no colon in a trailer", CHUNKED + b"0\r\nxy\r\n\r\n", "bad-trailers"),
    Attempt("NUL in a trailer", CHUNKED + b"0\r\nx: \x00\r\n\r\n", "bad-trailers"),
    Attempt("line feed behind a trailer", CHUNKED + b"0\r\nx: y\n\r\n\r\n", "bare-line-feed"),
    Attempt("line feed ends the trailers", CHUNKED + b"0\r\n\nGET / HTTP/1.1\r\n\r\n", "bare-line-feed"),
    Attempt("trailers too long", CHUNKED + b"0\r\nx: " + b"y" * 70_000, "head-too-long", 431),
    Attempt("too many trailers", CHUNKED + b"0\r\n" + b"x: y\r\n" * 200 + b"\r\n", "too-many-fields", 431),
]  # fmt: skip


def by_name(attempt: Attempt) -> str:
    return attempt.name


@pytest.mark.parametrize("attempt", HEADS, ids=by_name)
async def test_a_bad_head_is_refused_the_connection_closed_and_nothing_passed_on(
    attempt: Attempt,
) -> None:
    async with conversation() as talk:
        await talk.hears(attempt.data)

        answer = talk.says()
        assert answer.startswith(b"HTTP/1.1 %d " % attempt.status)
        assert b"tulle-error: %b\r\n" % attempt.word.encode() in answer
        assert b"connection: close\r\n" in answer
        assert answer.count(b"HTTP/1.1") == 1
        assert talk.rejections == [attempt.word]
        assert not talk.exchanges
        await closed(talk)


@pytest.mark.parametrize("attempt", HEADS, ids=by_name)
async def test_a_bad_head_that_comes_in_pieces_is_refused_with_the_same_word(
    attempt: Attempt,
) -> None:
    step = 1 if len(attempt.data) < 5000 else 1999
    async with conversation() as talk:
        await talk.hears(*pieces(attempt.data, step))

        assert talk.rejections == [attempt.word]
        assert not talk.exchanges


@pytest.mark.parametrize("attempt", BODIES, ids=by_name)
@pytest.mark.parametrize("step", [0, 1])
async def test_a_bad_body_is_refused_the_connection_closed_and_the_endpoint_left(
    attempt: Attempt, step: int
) -> None:
    async with conversation() as talk:
        await talk.hears(CHUNKED)
        talk.endpoint.says()
        body = attempt.data.removeprefix(CHUNKED)
        step = min(step, len(body)) if len(body) < 5000 else 1999
        await talk.hears(*(pieces(body, step) if step else (body,)))

        answer = talk.says()
        assert answer.startswith(b"HTTP/1.1 %d " % attempt.status)
        assert b"tulle-error: %b\r\n" % attempt.word.encode() in answer
        assert b"connection: close\r\n" in answer
        assert talk.rejections == [attempt.word]
        # The endpoint never hears the end of the body, and certainly no second request.
        passed_on = talk.passes_on()
        assert b"\r\n0\r\n" not in b"\r\n" + passed_on
        assert b"HTTP" not in passed_on
        assert talk.endpoint.broken
        await closed(talk)


async def test_a_head_that_takes_too_long_is_answered_with_408() -> None:
    async with conversation() as talk:
        await talk.hears(b"GET / HTTP/1.1\r\nhost: a\r\n")
        await talk.expire(11)

        answer = talk.says()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"tulle-error: head-too-slow\r\n" in answer
        assert talk.rejections == ["head-too-slow"]
        await closed(talk)


async def closed(talk: Conversation) -> None:
    """The connection is closed, and nothing said on it meanwhile does anything."""
    exchanges = len(talk.exchanges)
    await talk.hears(b"GET /after HTTP/1.1\r\nhost: a\r\n\r\n")
    assert talk.client.ended
    assert talk.says() == b""
    await talk.expire(60)
    assert talk.client.lost
    assert len(talk.exchanges) == exchanges
    await settled()


def pieces(data: bytes, step: int) -> list[bytes]:
    return [data[at : at + step] for at in range(0, len(data), step)]
