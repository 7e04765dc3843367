"""HTTP/2 endpoints that misbehave, behind both proxies: what callers see, and that nobody else notices."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import anyio
import pytest

from tests.support.intercepted import Intercepted

pytestmark = pytest.mark.anyio

ROUGH = "http://rough:8000"
OTHER = "http://web:81/hello"
PROXIES = ("client-1", "rough-1")
HELD = (
    *("proxy_tasks", "process_open_fds", "proxy_buffered_bytes", "proxy_http2_waiting_bytes"),
    *("proxy_inbound_connections", "proxy_outbound_connections", "proxy_outbound_http2_sessions"),
)
STREAM_BROKE = 92
"""curl(1): stream error in HTTP/2 framing layer. It forgets a head that comes together with the error."""
TIMED_OUT = 28
TOLD = r"\n%{http_code} %{exitcode} %header{tulle-error}"


class Answer(NamedTuple):
    """What curl makes of a response."""

    status: int
    exit: int
    error: str
    body: str


async def ask(mesh: Intercepted, path: str, *flags: str) -> Answer:
    """One request of HTTP/2, on a connection of its own."""
    argv = ("curl", "-sN", "--http2-prior-knowledge", "--max-time", "20", "-w", TOLD, *flags)
    said = await mesh.run("client-1", "sh", "-c", '"$@"; true', "sh", *argv, ROUGH + path)
    body, _, told = said.rpartition("\n")
    status, code, error = told.split(" ")
    return Answer(int(status), int(code), error, body)


async def held(mesh: Intercepted, replica: str) -> dict[str, float]:
    """What a replica's proxy holds that must not grow."""
    gauges = await mesh.gauges(replica)
    return {name: gauges[name] for name in HELD}


async def load(mesh: Intercepted, url: str) -> None:
    """A hundred requests in two seconds, several at a time, of which none may fail."""
    said = await mesh.run("client-1", "h2load", "-n100", "-c1", "-m4", "--rps=50", url)
    assert "100 succeeded, 0 failed, 0 errored, 0 timeout" in said, said
    assert "status codes: 100 2xx" in said, said


@asynccontextmanager
async def undisturbed(mesh: Intercepted, *urls: str) -> AsyncIterator[None]:
    """Requests for these and for another service go on meanwhile, and afterwards proxies hold no more."""
    for _ in range(2):
        assert (await ask(mesh, "/ok")).status == 200
        await mesh.curl("client-1", "--http2-prior-knowledge", OTHER)
    before = {replica: await held(mesh, replica) for replica in PROXIES}
    async with anyio.create_task_group() as group:
        for url in (OTHER, *urls):
            group.start_soon(load, mesh, url)
        yield
    now = dict(before)
    with anyio.move_on_after(15):
        while True:
            now = {replica: await held(mesh, replica) for replica in PROXIES}
            if all(now[one][name] <= before[one][name] for one in PROXIES for name in HELD):
                return
            await anyio.sleep(0.2)
    raise AssertionError(f"held {before}, and now {now}")


async def test_streams_that_break_are_told_so_and_their_connection_goes_on(
    mesh: Intercepted,
) -> None:
    told: dict[str, Answer] = {}

    async def one(path: str) -> None:
        told[path] = await ask(mesh, path)

    async with undisturbed(mesh, f"{ROUGH}/ok"), anyio.create_task_group() as group:
        for path in ("/reset", "/short", "/long", "/shout", "/trickle"):
            group.start_soon(one, path)

    assert told["/trickle"] == Answer(200, 0, "", "ttt")
    assert told["/shout"][:3] == (502, 0, "bad-response")
    for path in ("/reset", "/short", "/long"):
        assert told[path].exit == STREAM_BROKE, path
        assert "0123456789".startswith(told[path].body)


async def test_who_is_never_answered_may_leave_and_the_endpoint_hears_of_it(
    mesh: Intercepted,
) -> None:
    before = int((await ask(mesh, "/given-up")).body)
    async with undisturbed(mesh, f"{ROUGH}/ok"), anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask, mesh, "/never", "--max-time", "0.5")

    given_up = before
    with anyio.fail_after(10):
        while given_up < before + 5:
            given_up = int((await ask(mesh, "/given-up")).body)


@pytest.mark.parametrize(
    ("path", "error"),
    [("/hang-up", "response-lost"), ("/garbage", "bad-response"), ("/cut", "")],
)
async def test_connections_that_break_are_told_to_those_they_carried(
    mesh: Intercepted, path: str, error: str
) -> None:
    async with undisturbed(mesh):
        waiting = await ask(mesh, "/never", "--max-time", "0.5")
        told = [await ask(mesh, path) for _ in range(3)]
        after = await ask(mesh, "/ok")

    assert waiting.exit == TIMED_OUT
    for answer in told:
        assert answer.error == error
        assert answer.exit == (0 if error else STREAM_BROKE)
        assert not error or answer.status == 502
    assert after == Answer(200, 0, "", "0123456789")
