"""Endpoints that misbehave: what callers may see, and that nobody else notices."""

from collections.abc import AsyncIterator

import anyio
import pytest

from tests.support.bad_clients import Answer, ask, head, line
from tests.support.chaos import (
    BAD,
    BAD_URL,
    CLIENT,
    RUDE,
    application,
    gauges,
    resident_bytes,
    undisturbed,
    until_seen,
)
from tests.support.mesh import RunningMesh, running_mesh

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningMesh]:
    async with running_mesh(tmp_path_factory.mktemp("mesh"), application()) as running:
        yield running


async def answers(mesh: RunningMesh, *paths: str) -> list[Answer]:
    """What comes of requests for these, all at the same time and in the order of paths."""
    found: dict[int, Answer] = {}

    async def one(number: int, path: str) -> None:
        url = path if path.startswith("http") else BAD_URL + path
        found[number] = await ask(mesh.proxy_url(CLIENT), url)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for number, path in enumerate(paths):
                group.start_soon(one, number, path)
    return [found[number] for number in range(len(paths))]


async def test_who_is_never_answered_may_leave_and_the_endpoint_is_let_off(
    mesh: RunningMesh,
) -> None:
    url = f"{BAD_URL}/never"
    async with undisturbed(mesh):
        async with line(mesh.proxy_url(CLIENT)) as reset, line(mesh.proxy_url(CLIENT)) as closed:
            await reset.say(head(url))
            await closed.say(head(url))
            await until_seen(mesh, BAD, held=2)
            reset.reset()
            await until_seen(mesh, BAD, held=1)
        await until_seen(mesh, BAD, held=0)


@pytest.mark.parametrize("way", ["reset", "end"])
async def test_a_head_that_breaks_off_is_answered_for(mesh: RunningMesh, way: str) -> None:
    async with undisturbed(mesh):
        for answer in await answers(mesh, f"/{way}/head", f"/{way}/nothing", "/close"):
            assert (answer.status, answer.error, answer.whole) == (502, "response-lost", True)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_body_that_is_reset_never_looks_whole(mesh: RunningMesh, framing: str) -> None:
    async with undisturbed(mesh):
        for answer in await answers(mesh, *[f"/reset/{framing}"] * 5):
            assert answer.status == 200
            assert b"0123456789".startswith(answer.body)
            assert answer.broken
            assert not answer.whole


async def test_a_body_that_ends_early_never_looks_whole(mesh: RunningMesh) -> None:
    async with undisturbed(mesh):
        for answer in await answers(mesh, "/end/length", "/end/chunked"):
            assert answer.status == 200
            assert answer.broken
            assert not answer.whole


async def test_a_body_that_ends_with_its_connection_is_whole(mesh: RunningMesh) -> None:
    async with undisturbed(mesh):
        (answer,) = await answers(mesh, "/end/close")
        assert (answer.body, answer.whole) == (b"0123456789", True)


GARBAGE = {
    "zeros": b"\0" * 64,
    "a letter": b"x",
    "words": b"hello, who is there?\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "status": b"HTTP/1.1 2000 OK\r\n\r\n",
    "two-lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}
ENDLESS_HEAD = f"{b'HTTP/1.1 200 OK '.hex()}x100000"


async def test_garbage_is_answered_for_and_not_passed_on(mesh: RunningMesh) -> None:
    async with undisturbed(mesh):
        paths = [f"/garbage/{data.hex()}" for data in GARBAGE.values()]
        for answer in await answers(mesh, *paths, f"/garbage/{ENDLESS_HEAD}"):
            assert (answer.status, answer.error) == (502, "bad-response")


async def test_a_second_answer_is_nobodys(mesh: RunningMesh) -> None:
    other = "http://bad:8001"
    async with undisturbed(mesh):
        for answer in await answers(mesh, *["/twice/now", "/ok/3"] * 5):
            assert answer.status == 200
            assert answer.body in (b"one", b"okokok")
        for _ in range(3):
            (first,) = await answers(mesh, f"{other}/twice/later")
            await anyio.sleep(0.1)
            (second,) = await answers(mesh, f"{other}/ok/3")
            assert (first.body, second.body) == (b"one", b"okokok")


@pytest.mark.parametrize("way", ["on", "close"])
async def test_an_answer_before_the_request_is_complete_is_heard(
    mesh: RunningMesh, way: str
) -> None:
    async with undisturbed(mesh):
        async with line(mesh.proxy_url(CLIENT)) as client:
            await client.say(
                head(f"{BAD_URL}/early/{way}", "POST", "content-length: 1000000"), b"x" * 1000
            )
            with anyio.fail_after(5):
                answer = await client.answer()
        assert (answer.status, answer.body, answer.whole) == (200, b"early", True)


async def test_one_byte_a_second_is_passed_on_as_it_comes(mesh: RunningMesh) -> None:
    async with undisturbed(mesh):
        for answer in await answers(mesh, "/trickle/2", "/trickle/3"):
            assert answer.whole
            assert answer.body in (b"tt", b"ttt")


async def test_who_cannot_be_spoken_to_is_answered_for(mesh: RunningMesh) -> None:
    async with undisturbed(mesh):
        closer, resetter, deaf = await answers(
            mesh, "http://rude:7001/", "http://rude:7002/", "http://rude:7003/"
        )
        assert (closer.status, closer.error) == (502, "response-lost")
        assert (resetter.status, resetter.error) == (502, "response-lost")
        assert (deaf.status, deaf.error) == (502, "connect-failed")


@pytest.mark.parametrize("name", [CLIENT, BAD, RUDE])
async def test_all_that_is_used_is_told_together_with_its_bound(
    mesh: RunningMesh, name: str
) -> None:
    now = await gauges(mesh, name)

    for used, bound in BOUNDS.items():
        assert 0 <= now[used] < now[bound]
    assert now["proxy_tasks"] > 0
    assert now["process_resident_memory_bytes"] == pytest.approx(
        resident_bytes(mesh, name), rel=0.5
    )


BOUNDS = {
    "proxy_inbound_connections": "proxy_max_connections",
    "proxy_outbound_connections": "proxy_max_connections",
    "process_open_fds": "process_max_fds",
    "proxy_buffered_bytes": "proxy_buffered_limit_bytes",
    "proxy_http2_waiting_bytes": "proxy_http2_waiting_limit_bytes",
}
