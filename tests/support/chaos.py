"""A mesh for chaos: applications that misbehave beside good ones, and proof that nobody else noticed.

`undisturbed` is that proof: while something terrible happens, steady requests go to good applications
through the same proxies, and none may fail; afterwards the proxies hold no more than before.
"""

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from tests.support import bad_servers, bad_servers_tcp, echo
from tests.support.bad_clients import ask, line
from tests.support.mesh import Load, RunningMesh

_PYTHON = '"{python}", "-P"'
_BAD = f'{_PYTHON}, "{bad_servers.__file__}", "{{address}}", "8000", "8001"'
_RUDE = f"""
  - name: rude
    command: [{_PYTHON}, "{bad_servers_tcp.__file__}", "{{address}}",
      stream=7000, closer=7001, resetter=7002, deaf=7003]
    ports: [7000, 7001, 7002, 7003]
"""
CLIENT, BAD, RUDE = "client-1", "bad-1", "rude-1"
GOOD_URL = "http://good:8000/"
BAD_URL = "http://bad:8000"
PATIENCE_SECONDS = 20.0


def application(*, good: int = 1, rude: bool = True, bad: str = _BAD) -> str:
    """A client, so many replicas of a good application, a bad one (its command), and perhaps a rude one."""
    return f"""
namespace: shop
workloads:
  - name: client
    command: [sleep, "1000"]
  - name: good
    command: [{_PYTHON}, "{echo.__file__}", "{{address}}", "{{port}}"]
    ports: [8000]
    replicas: {good}
  - name: bad
    command: [{bad}]
    ports: [8000, 8001]
{_RUDE if rude else ""}"""


@dataclass
class Holdings:
    """What a proxy holds that must not grow."""

    inbound: float
    """Connections from others than the client's proxy."""
    outbound: float
    buffered: float
    tasks: float
    strays: float
    """File descriptors beyond those of connections that are known about."""

    def exceeds(self, before: "Holdings") -> bool:
        """Whether something was left."""
        return any(
            after > former
            for after, former in zip(vars(self).values(), vars(before).values(), strict=True)
        )


async def gauges(mesh: RunningMesh, name: str) -> dict[str, float]:
    """What a replica's proxy says of itself: the lines of /metrics without labels."""
    answer = b""
    async with line(mesh.admin_url(name)) as admin:
        await admin.say(b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n")
        answer = await admin.rest()
    text = answer.partition(b"\r\n\r\n")[2].decode()
    rows = (row.rsplit(" ", 1) for row in text.splitlines() if row[0] != "#" and "{" not in row)
    return {name: float(value) for name, value in rows}


async def holdings(mesh: RunningMesh, name: str) -> Holdings:
    """What a replica's proxy holds now."""
    client, now = await gauges(mesh, CLIENT), await gauges(mesh, name)
    pid = mesh.running[f"{name}-proxy"].pid
    sides = ("inbound", "outbound")
    known = sum(
        now[f"proxy_{side}_{kind}"]
        for side in sides
        for kind in ("connections", "warm_connections", "http2_sessions")
    )
    return Holdings(
        # The client's proxy keeps a connection for each port that it talked to.
        inbound=now["proxy_inbound_connections"] - client["proxy_outbound_http2_sessions"],
        outbound=now["proxy_outbound_connections"],
        buffered=now["proxy_buffered_bytes"],
        tasks=now["proxy_tasks"],
        strays=len(os.listdir(f"/proc/{pid}/fd")) - known,
    )


def resident_bytes(mesh: RunningMesh, name: str) -> int:
    """How much memory a replica's proxy occupies."""
    pid = mesh.running[f"{name}-proxy"].pid
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def tell(mesh: RunningMesh, name: str, word: str) -> bytes:
    """Tell a misbehaving application something without any proxy; what it says to that."""
    if name == BAD:
        url = f"http://{mesh.replica(name).address}:8000"
        return (await ask(url, f"{url}/{word}")).body
    async with line(f"http://{mesh.replica(name).address}:7000") as made:
        await made.say(f"{word}\n".encode())
        return await made.rest()


async def seen(mesh: RunningMesh, name: str) -> dict[str, int]:
    """What a misbehaving application has seen."""
    found: dict[str, int] = json.loads(await tell(mesh, name, "stats"))
    return found


async def until_seen(mesh: RunningMesh, name: str, **wanted: int) -> None:
    """Wait until an application's counts are these."""
    found: dict[str, int] = {}
    with anyio.move_on_after(PATIENCE_SECONDS):
        while True:
            found = await seen(mesh, name)
            if all(found.get(kind, 0) == value for kind, value in wanted.items()):
                return
            await anyio.sleep(0.02)
    raise AssertionError(f"{wanted} expected, seen {found}")


async def until_stuck(mesh: RunningMesh, name: str, kind: str) -> None:
    """Wait until an application's count does not grow any more."""
    before, now = -1, 0
    with anyio.fail_after(PATIENCE_SECONDS):
        while before != now or not now:
            await anyio.sleep(0.3)
            before, now = now, (await seen(mesh, name)).get(kind, 0)


async def until_told(
    mesh: RunningMesh, name: str, condition: Callable[[dict[str, float]], bool]
) -> None:
    """Wait until a replica's proxy says so of itself."""
    now: dict[str, float] = {}
    with anyio.move_on_after(PATIENCE_SECONDS):
        while True:
            now = await gauges(mesh, name)
            if condition(now):
                return
            await anyio.sleep(0.02)
    raise AssertionError(f"{name}'s proxy says {now}")


async def until_buffered(mesh: RunningMesh, name: str) -> None:
    """Wait until something waits in a replica's proxy."""
    await until_told(mesh, name, lambda now: now["proxy_buffered_bytes"] > 0)


@asynccontextmanager
async def undisturbed(mesh: RunningMesh, *proxies: str) -> AsyncIterator[None]:
    """Nobody else notices what happens meanwhile, and the replicas' proxies hold no more afterwards."""
    proxies = proxies or tuple(n for n in (CLIENT, BAD, RUDE) if f"{n}-proxy" in mesh.running)
    client = mesh.proxy_url(CLIENT)
    loads = [Load(client, url, 2, 0.02) for url in (GOOD_URL, f"{BAD_URL}/ok/1")]
    for url in (GOOD_URL, f"{BAD_URL}/ok/1"):
        assert (await ask(client, url)).status == 200
    if RUDE in mesh.running:
        assert (await ask(client, "http://rude:7001/")).status == 502
    before = {name: await calm(mesh, name) for name in proxies}
    async with AsyncExitStack() as stack:
        for load in loads:
            await stack.enter_async_context(load.running())
            await load.wait_for(5)
        yield
        for load in loads:
            await load.wait_for(10)
    assert [load.failures for load in loads] == [[], []]
    for name in proxies:
        await calm(mesh, name, before[name])


async def calm(mesh: RunningMesh, name: str, before: Holdings | None = None) -> Holdings:
    """Wait until a proxy holds no more than before; until nobody uses it, if there is no before."""
    now = await holdings(mesh, name)
    with anyio.move_on_after(PATIENCE_SECONDS):
        while now.outbound or now.buffered or (before is not None and now.exceeds(before)):
            await anyio.sleep(0.1)
            now = await holdings(mesh, name)
        return now
    raise AssertionError(f"{name}'s proxy held {before}, and now {now}")
