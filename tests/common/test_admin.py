"""The admin port: few pages, and no patience with whoever is slow or strange."""

import anyio
import pytest

from common import admin
from common.admin import JSON, TEXT, Admin, Answer, ready
from common.errors import InvalidSettings
from tests.support.nats import until

pytestmark = pytest.mark.anyio


def broken() -> Answer:
    raise ZeroDivisionError


ROUTES = {"/metrics": lambda: (200, TEXT, b"requests 1\n"), "/broken": broken}


async def talk(port: int, request: bytes) -> bytes:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(request)
        answer = b""
        with anyio.fail_after(10):
            async for data in stream:
                answer += data
    return answer


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        (b"GET /live HTTP/1.1", b"200 OK", b"live\n"),
        (b"GET /live HTTP/1.0", b"200 OK", b"live\n"),
        (b"GET /metrics?x=y HTTP/1.1", b"200 OK", b"requests 1\n"),
        (b"HEAD /metrics HTTP/1.1", b"200 OK", b""),
        (b"GET /nowhere HTTP/1.1", b"404 Not Found", b"try: /broken /live /metrics\n"),
        (b"POST /metrics HTTP/1.1", b"405 Method Not Allowed", b""),
        (b"GET /broken HTTP/1.1", b"500 Internal Server Error", b""),
        (b"GET http://elsewhere/ HTTP/1.1", b"400 Bad Request", b""),
        (b"nonsense", b"400 Bad Request", b""),
        (b"\xff\x00", b"400 Bad Request", b""),
    ],
)
async def test_what_is_asked_is_answered(request_line: bytes, status: bytes, body: bytes) -> None:
    async with Admin("127.0.0.1:0", ROUTES) as port:
        answer = await talk(port.port, request_line + b"\r\nhost: a\r\n\r\n")

    head, _, got = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert got == body
    assert b"connection: close" in head


async def test_head_tells_the_length_of_what_get_would_send() -> None:
    async with Admin("127.0.0.1:0", ROUTES) as port:
        assert b"content-length: 11\r\n" in await talk(port.port, b"HEAD /metrics HTTP/1.1\r\n\r\n")


async def test_a_head_that_does_not_end_within_bounds_is_refused() -> None:
    async with Admin("127.0.0.1:0", ROUTES) as port:
        answer = await talk(port.port, b"GET / HTTP/1.1\r\nx: " + b"a" * 9000)

    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_whoever_says_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "_SECONDS", 0.05)
    async with Admin("127.0.0.1:0", ROUTES) as port:
        assert await talk(port.port, b"GET / HT") == b""


async def test_ready_follows_what_it_is_told() -> None:
    is_ready = [False]
    async with Admin("127.0.0.1:0", {"/ready": ready(lambda: is_ready[0])}) as port:
        asked = b"GET /ready HTTP/1.1\r\n\r\n"
        assert (await talk(port.port, asked)).startswith(b"HTTP/1.1 503 ")
        is_ready[0] = True
        assert (await talk(port.port, asked)).startswith(b"HTTP/1.1 200 ")


async def test_after_the_context_nobody_listens() -> None:
    async with Admin("127.0.0.1:0", {}) as port:
        number = port.port

    with pytest.raises(OSError):  # noqa: PT011
        await anyio.connect_tcp("127.0.0.1", number)


@pytest.mark.parametrize("listen", ["", "9990", "localhost:", "localhost:x", "localhost:65536"])
def test_a_strange_address_is_a_setting_gone_wrong(listen: str) -> None:
    with pytest.raises(InvalidSettings, match="expected HOST:PORT"):
        Admin(listen, {})


async def test_a_port_that_is_taken_is_a_setting_gone_wrong() -> None:
    async with Admin("127.0.0.1:0", {}) as first:
        with pytest.raises(InvalidSettings, match=f"cannot listen on 127.0.0.1:{first.port}"):
            async with Admin(f"127.0.0.1:{first.port}", {}):
                pass


def test_ipv6_is_written_in_brackets() -> None:
    assert Admin("[::1]:9990", {}).port == 9990
    assert JSON == "application/json"


async def test_pages_are_asked_for_anew_each_time() -> None:
    asked = [0]

    def count() -> Answer:
        asked[0] += 1
        return 200, TEXT, b""

    async with Admin("127.0.0.1:0", {"/count": count}) as port:
        for _ in range(3):
            await talk(port.port, b"GET /count HTTP/1.1\r\n\r\n")
        await until(lambda: asked == [3])
