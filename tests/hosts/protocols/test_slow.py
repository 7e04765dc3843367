"""Answers that take their time and bodies that take a lot of it: events, long polling, large transfers."""

from pathlib import Path

import anyio
import pytest

from tests.support.intercepted import Intercepted
from tests.support.protocols import LARGE

pytestmark = pytest.mark.anyio

FLAGS = {"HTTP/1.1": (), "HTTP/2": ("--http2-prior-knowledge",)}
HOSTS = {"HTTP/1.1": "http://web:82", "HTTP/2": "http://web:81/slow"}
FILES = {"HTTP/1.1": "http://web:80", "HTTP/2": "http://web:81"}
GROWTH = 20_000_000
"""Bytes by which a proxy may grow while something large goes through."""
PATIENCE_SECONDS = 150


@pytest.fixture(params=FLAGS)
def version(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def waiting(mesh: Intercepted, number: int) -> None:
    """Come back when so many wait for words."""
    now = ""
    with anyio.fail_after(10):
        while now != str(number):
            now = await mesh.curl("web-1", "http://127.0.0.1:82/waiting")


async def tell(mesh: Intercepted, word: str) -> None:
    await mesh.curl("web-1", "--data", word, "http://127.0.0.1:82/tell")


async def test_events_come_one_by_one(mesh: Intercepted, version: str) -> None:
    """The next one is only sent when the one before has come: what waits for more would wait for ever."""
    ask = ("curl", "-sSN", *FLAGS[version], f"{HOSTS[version]}/events")
    async with mesh.running("client-1", *ask) as listener:
        await waiting(mesh, 1)
        for number in range(20):
            await tell(mesh, f"event {number}")
            assert await listener.line() == f"data: event {number}"
            assert await listener.line() == ""
    # A client of HTTP/1.1 may have ended its half alone: that it is gone shows when more is sent to it.
    await tell(mesh, "one more")
    await waiting(mesh, 0)


async def test_a_long_poll_is_answered_when_there_is_something_to_say(
    mesh: Intercepted, version: str
) -> None:
    poll = ("curl", "-sS", *FLAGS[version], f"{HOSTS[version]}/next", "-w", r"\n")
    async with mesh.running("client-1", *poll) as one, mesh.running("client-1", *poll) as other:
        await waiting(mesh, 2)
        await tell(mesh, "now")

        assert await one.line() == await other.line() == "now"


@pytest.mark.timeout(PATIENCE_SECONDS + 30)
@pytest.mark.parametrize("direction", ["download", "upload"])
async def test_a_large_transfer_does_not_grow_the_proxies(
    mesh: Intercepted, version: str, direction: str, tmp_path: Path
) -> None:
    with (tmp_path / "large").open("wb") as large:
        large.truncate(LARGE)
    transfer = {
        "download": ("-r", f"0-{LARGE - 1}", f"{FILES[version]}/large"),
        "upload": ("-T", f"{tmp_path}/large", f"{HOSTS[version]}/discard"),
    }[direction]
    before = {replica: mesh.memory(replica) for replica in ("client-1", "web-1")}

    told = f"%{{http_code}} %{{size_{direction}}}"
    quietly = (*FLAGS[version], "--max-time", str(PATIENCE_SECONDS), "-o", "/dev/null", "-w", told)
    said = await mesh.curl("client-1", *quietly, *transfer)

    assert said in (f"200 {LARGE}", f"206 {LARGE}")
    for replica, size in before.items():
        assert mesh.memory(replica, most=True) - size < GROWTH, replica
