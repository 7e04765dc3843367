"""Endpoints that fail, are not ready, or die, in a mesh of real processes."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
import yaml

from common.contract import subjects
from common.contract.events import Event
from tests.support import moody
from tests.support.mesh import RunningMesh, running_mesh

pytestmark = pytest.mark.anyio
PREFIX = "balancer.tulle.dev/failure-accrual"
RULES = {
    PREFIX: "consecutive",
    PREFIX + "-consecutive-max-failures": "3",
    PREFIX + "-consecutive-min-penalty": "500ms",
    PREFIX + "-consecutive-jitter-ratio": "0",
}


class Moods:
    """The mesh, and how each replica of `moody` answers."""

    def __init__(self, mesh: RunningMesh, moods: Path) -> None:
        self.mesh = mesh
        self._moods = moods

    def set(self, replica: int, status: int) -> None:
        """Let a replica answer with `status` from now on."""
        hidden = self._moods / f".{replica}"
        hidden.write_text(str(status))
        hidden.replace(self._moods / str(replica))

    def describe(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change what destination is told of services and their slices."""
        path = self.mesh.paths.manifests / "services.yaml"
        documents = list(yaml.safe_load_all(path.read_text()))
        for document in documents:
            change(document)
        hidden = path.with_name(".services")
        hidden.write_text(yaml.safe_dump_all(documents))
        hidden.replace(path)

    async def ask(self, method: str = "GET") -> tuple[int, str, str]:
        """One request on a connection of its own: status, `tulle-error` and body."""
        host, _, port = self.mesh.proxy_url("client-1").removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            head = f"{method} http://moody:8000/ HTTP/1.1\r\nhost: moody:8000\r\ncontent-length: 0\r\n\r\n"
            writer.write(head.encode())
            said = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
            fields = dict(line.split(": ", 1) for line in said[1:] if line)
            body = await reader.readexactly(int(fields.get("content-length", "0")))
        finally:
            writer.close()
        return int(said[0].split()[1]), fields.get("tulle-error", ""), body.decode()

    async def ask_times(self, times: int) -> Counter[tuple[int, str]]:
        """Statuses, with who answered or why not."""
        return Counter(
            (s, body or error) for s, error, body in [await self.ask() for _ in range(times)]
        )


@pytest.fixture(scope="module")
async def moods(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Moods]:
    folder = tmp_path_factory.mktemp("moods")
    application = f"""
namespace: shop
workloads:
  - name: client
    command: [sleep, "1000"]
  - name: moody
    command: ["{{python}}", "-P", "{moody.__file__}", "{{address}}", "{{port}}"]
    ports: [8000]
    replicas: 3
    env: {{MOODS: "{folder}"}}
"""
    async with running_mesh(tmp_path_factory.mktemp("mesh"), application) as mesh:
        made = Moods(mesh, folder)
        made.describe(lambda document: annotate(document, RULES))
        yield made


def annotate(document: dict[str, Any], notes: dict[str, str]) -> None:
    if document["kind"] == "Service":
        document["metadata"]["annotations"] = notes


def set_ready(document: dict[str, Any], ready: bool) -> None:
    for endpoint in document.get("endpoints", ()):
        endpoint["conditions"]["ready"] = ready


async def none_is_ready(moods: Moods) -> None:
    """Make it so, and wait until the client's proxy knows."""
    moods.describe(lambda document: set_ready(document, False))
    for _ in range(200):
        if (await moods.ask())[0] != 200:
            return
        await anyio.sleep(0.02)
    raise AssertionError("still answered")


@asynccontextmanager
async def hearing(mesh: RunningMesh, heard: list[Event]) -> AsyncIterator[None]:
    """Collect what proxies tell of endpoints."""
    async with mesh.bus() as bus:
        await bus.wait_connected()
        await bus.listen(subjects.proxy_event_any(), lambda _, event: heard.append(event))
        yield


async def asked_until(moods: Moods, enough: Callable[[], bool]) -> Counter[tuple[int, str]]:
    """Ask until that is so."""
    told: Counter[tuple[int, str]] = Counter()
    with anyio.fail_after(30):
        while not enough():
            told += await moods.ask_times(5)
            await anyio.sleep(0.01)
    return told


async def test_a_replica_that_fails_is_left_alone_and_comes_back_after_a_probe(
    moods: Moods,
) -> None:
    heard: list[Event] = []
    async with hearing(moods.mesh, heard):
        await asked_until(moods, rules_in_force(moods))
        moods.set(2, 503)
        failing = await asked_until(moods, lambda: any(e.what == "ejected" for e in heard))
        assert 3 <= failing[503, "2"] <= 5

        quiet = await moods.ask_times(100)
        assert quiet[503, "2"] <= 2
        assert quiet[200, "1"] + quiet[200, "3"] >= 98

        moods.set(2, 200)
        await asked_until(moods, lambda: any(e.what == "readmitted" for e in heard))
        assert {status for status, _ in await moods.ask_times(60)} == {200}

    assert {e.fields["workload"] for e in heard} == {"moody-2"}
    assert {e.fields["by"] for e in heard} == {"shop/client-1"}
    assert heard[0].fields["service"] == "moody.shop:8000"


def rules_in_force(moods: Moods) -> Callable[[], bool]:
    """Annotations take as long as a change of files does: half a second at most."""
    until = time.monotonic() + 1.5
    return lambda: time.monotonic() > until


async def test_when_every_replica_fails_clients_hear_its_answers_and_recover_at_once(
    moods: Moods,
) -> None:
    for replica in (1, 2, 3):
        moods.set(replica, 500)
    told = await moods.ask_times(60)
    assert {status for status, _ in told} <= {500, 200}
    assert sum(count for (status, _), count in told.items() if status == 500) > 50

    for replica in (1, 2, 3):
        moods.set(replica, 200)
    assert {status for status, _ in await moods.ask_times(60)} == {200}


async def test_a_hundred_wait_for_a_ready_replica_and_the_next_is_refused(moods: Moods) -> None:
    await none_is_ready(moods)
    told: Counter[tuple[int, str]] = Counter()
    took: dict[int, float] = {}

    async def ask() -> None:
        began = time.monotonic()
        status, error, _ = await moods.ask()
        took[status] = max(took.get(status, 0.0), time.monotonic() - began)
        told[status, error] += 1

    async with anyio.create_task_group() as group:
        for _ in range(101):
            group.start_soon(ask)

    assert told == {(504, "no-endpoints"): 100, (503, "overloaded"): 1}
    assert took[503] < 2.9 < took[504]


async def test_those_that_wait_are_served_when_a_replica_becomes_ready(moods: Moods) -> None:
    await none_is_ready(moods)
    told: Counter[tuple[int, str]] = Counter()

    async def ask() -> None:
        status, error, _ = await moods.ask()
        told[status, error] += 1

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(ask)
        await anyio.sleep(0.3)
        moods.describe(lambda document: set_ready(document, True))

    assert told == {(200, ""): 50}


def set_hints(document: dict[str, Any], zones: tuple[str, ...]) -> None:
    for endpoint, zone in zip(document.get("endpoints", ()), zones, strict=False):
        endpoint["hints"] = {"forZones": [{"name": zone}]} if zone else {}


async def test_replicas_of_ones_own_zone_are_asked_and_the_others_when_these_die(
    moods: Moods,
) -> None:
    mesh = moods.mesh
    moods.describe(lambda document: set_ready(document, True))
    moods.describe(lambda document: set_hints(document, ("eu-1", "eu-2", "eu-2")))
    program = mesh.programs["client-1-proxy"]
    zoned = {**program.env, "TULLE_ZONE": "eu-1"}
    mesh.programs["client-1-proxy"] = msgspec.structs.replace(program, env=zoned)
    await mesh.restart("client-1-proxy")
    await asked_until(moods, rules_in_force(moods))

    assert await moods.ask_times(30) == {(200, "1"): 30}

    await mesh.kill("moody-1-proxy")
    told = await moods.ask_times(30)
    assert {status for status, _ in told} == {200}
    assert (200, "1") not in told

    moods.describe(lambda document: set_hints(document, ("", "", "")))
    await mesh.start("moody-1-proxy")


async def test_a_replica_whose_proxy_is_killed_costs_no_request(moods: Moods) -> None:
    moods.describe(lambda document: set_ready(document, True))
    await asked_until(moods, rules_in_force(moods))
    await moods.mesh.kill("moody-3-proxy")

    told = await moods.ask_times(100)

    # One at a time, all may go to the one of the other two that answers faster.
    assert {status for status, _ in told} == {200}
    assert (200, "3") not in told
    await moods.mesh.start("moody-3-proxy")


async def test_a_replica_whose_application_refuses_connections_costs_no_request(
    moods: Moods,
) -> None:
    """Its proxy says so, and nothing was sent: even what may happen only once can go elsewhere."""
    await asked_until(moods, rules_in_force(moods))
    await moods.mesh.kill("moody-3")
    told = Counter([(await moods.ask("POST"))[0] for _ in range(60)])
    assert told == {200: 60}

    for replica in (1, 2):
        await moods.mesh.kill(f"moody-{replica}")
    assert await moods.ask("POST") == (502, "connect-failed", "")
    assert await moods.ask() == (502, "connect-failed", "")
