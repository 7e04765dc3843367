"""Destination as a whole on a real bus: files in, documents out, whoever holds the lease."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest

from common.bus import Bus
from common.bus.replay import replay
from common.bus.streams import ensure
from common.contract import subjects
from common.contract.discovery import Endpoint, EndpointSlice, Settings
from common.contract.events import Event, Lifecycle, Phase
from common.names import ServiceName, WorkloadName
from services.destination.app import Destination
from services.destination.lifecycles import heard
from services.destination.sources.directory import Directory
from tests.support.nats import connected, mesh, until

pytestmark = pytest.mark.anyio

WEB = ServiceName("shop", "web")
POD = WorkloadName("shop", "web-1")
MESH = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80, appProtocol: http}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.0.0.1], targetRef: {kind: Pod, name: web-1, uid: u1}}]
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, uid: u1, labels: {tulle.dev/meshed: "true"}}
spec: {serviceAccountName: web}
status: {podIP: 10.0.0.1}
"""


def replica(bus: Bus, root: Path, name: str) -> Destination:
    return Destination(
        bus,
        partial(Directory, root, interval=0.02),
        replica=name,
        trust_domain="mesh.test",
        lease_seconds=2,
    )


async def within(scope: anyio.CancelScope, running: Destination) -> None:
    with scope:
        await running.run()


@asynccontextmanager
async def destination(bus: Bus, root: Path) -> AsyncIterator[Destination]:
    running = replica(bus, root, "one")
    async with anyio.create_task_group() as group:
        group.start_soon(running.run)
        yield running
        group.cancel_scope.cancel()


class Follower:
    """What a proxy sees of the slice."""

    def __init__(self, bus: Bus) -> None:
        self.documents: list[EndpointSlice | None] = []
        self.follower = bus.follow(
            subjects.endpoints(WEB, "web-x"), lambda document, _: self.documents.append(document)
        )

    @property
    def endpoint(self) -> Endpoint | None:
        document = self.follower.document
        return document.endpoints[0] if document and document.endpoints else None

    async def until_ready(self, ready: bool) -> None:
        await until(lambda: self.endpoint is not None and self.endpoint.ready is ready)


def word(phase: Phase, time: float, workload: str = "web-1", uid: str = "u1") -> Lifecycle:
    return Lifecycle(namespace="shop", workload=workload, uid=uid, phase=phase, time=time)


async def told(bus: Bus, count: int) -> list[Event]:
    """The events that destination told, once there are so many."""
    with anyio.fail_after(10):
        while True:
            events = await replay(bus, subjects.EVENTS, subjects.event("destination", "*"))
            if len(events) >= count:
                return [event for _, event in events]
            await anyio.sleep(0.01)


async def say(bus: Bus, message: Lifecycle) -> None:
    await bus.publish(subjects.lifecycle(POD, message.phase), message)


async def test_a_file_becomes_documents_that_a_proxy_can_follow(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(MESH)
    async with mesh() as (_, bus), destination(bus, tmp_path) as running:
        web = Follower(bus)
        await web.until_ready(True)

        assert running.ready
        assert web.endpoint is not None
        assert web.endpoint.identity == "spiffe://mesh.test/ns/shop/sa/web"

        text = MESH.replace("10.0.0.1", "10.0.0.2")
        (tmp_path / "web.yaml").write_text(text)
        await until(lambda: web.endpoint is not None and web.endpoint.address == "10.0.0.2")


async def test_a_draining_workload_is_withdrawn_at_once_and_one_that_came_back_is_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "web.yaml").write_text(MESH)
    async with mesh() as (_, bus), destination(bus, tmp_path):
        web = Follower(bus)
        await web.until_ready(True)

        await say(bus, word("draining", 1.0))
        await web.until_ready(False)
        await say(bus, word("started", 2.0))
        (tmp_path / "web.yaml").write_text(MESH.replace("10.0.0.1", "10.0.0.2"))
        await until(lambda: web.endpoint is not None and web.endpoint.address == "10.0.0.2")
        assert web.endpoint is not None
        assert not web.endpoint.ready, "it has only started"
        await say(bus, word("ready", 3.0))
        await web.until_ready(True)


async def test_who_was_draining_before_the_start_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(MESH)
    async with mesh() as (_, bus):
        await say(bus, word("draining", 1.0))
        async with destination(bus, tmp_path):
            web = Follower(bus)
            await web.until_ready(False)

        assert [d.endpoints[0].ready for d in web.documents if d] == [False]


async def test_a_workload_cannot_speak_for_another() -> None:
    subject = subjects.lifecycle(POD, "draining").subject

    assert heard(subject, word("draining", 1.0)) is not None
    assert heard(subject, word("draining", 1.0, workload="web-2")) is None
    assert heard(subject, word("started", 1.0)) is None


async def test_a_standby_takes_over_and_has_nothing_to_write(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(MESH)
    async with (
        mesh() as (server, bus),
        connected(server, "second") as other,
        anyio.create_task_group() as group,
    ):
        first, second = replica(bus, tmp_path, "one"), replica(other, tmp_path, "two")
        of_first = anyio.CancelScope()
        group.start_soon(within, of_first, first)
        await until(lambda: first.publisher.stats.published == 6)
        group.start_soon(second.run)
        await until(lambda: second.ready)
        assert len(second.index.pods) == 1
        assert not second.lease.held.value

        of_first.cancel()
        await until(lambda: second.publisher.stats.published == 6)
        assert second.publisher.stats.written == 0

        (tmp_path / "web.yaml").write_text(MESH.replace("10.0.0.1", "10.0.0.2"))
        web = Follower(other)
        await until(lambda: web.endpoint is not None and web.endpoint.address == "10.0.0.2")
        group.cancel_scope.cancel()


async def test_a_broken_file_is_told_on_the_bus_once_and_when_it_is_healed(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(MESH)
    async with mesh() as (_, bus), destination(bus, tmp_path) as running:
        await until(lambda: running.publisher.stats.published == 6)

        file.write_text(MESH.replace("port: 80,", "port: eighty,"))
        await running.source.standing.wait_for(lambda standing: bool(standing.broken))
        file.write_text(MESH)
        await running.source.standing.wait_for(lambda standing: not standing.broken)

        rejected, accepted = await told(bus, 2)
        assert rejected.what == "rejected"
        assert rejected.fields["file"] == "web.yaml"
        assert rejected.fields["line"] == "4"
        assert rejected.fields["path"] == "spec.ports[0].port"
        assert "line 4: spec.ports[0].port: expected a number" in rejected.message
        assert accepted.what == "accepted"
        assert running.publisher.stats.written == 6


async def test_a_file_that_is_broken_when_the_bus_comes_is_told_then(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text("[")
    async with mesh() as (server, bus):
        await server.stop()
        await until(lambda: not bus.connected.value)
        async with destination(bus, tmp_path) as running:
            await running.source.standing.wait_for(lambda standing: standing.loaded)
            await server.start()

            await bus.wait_connected()
            (event,) = await told(bus, 1)
            assert event.what == "rejected"


async def test_a_bus_that_lost_everything_is_filled_again(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(MESH)
    async with mesh() as (server, bus), destination(bus, tmp_path) as running:
        await until(lambda: running.publisher.stats.published == 6)
        web = Follower(bus)
        await web.until_ready(True)
        before = web.follower.revision

        for stream in (
            subjects.STATE,
            subjects.WORKLOADS,
            subjects.EVENTS,
            "KV_" + subjects.LEASES,
        ):
            await bus.ask(f"$JS.API.STREAM.DELETE.{stream}", b"")
        await server.restart()
        # Identity makes the streams again; destination waits for that.
        await until(lambda: bus.connected.value)
        await ensure(bus)

        await until(lambda: web.follower.revision > before, 20)
        await web.until_ready(True)


async def test_settings_of_the_mesh_are_published_even_if_nobody_set_any(tmp_path: Path) -> None:
    async with mesh() as (_, bus), destination(bus, tmp_path):
        found: list[Settings | None] = []
        bus.follow(subjects.settings(), lambda document, _: found.append(document))
        await until(lambda: found and found[-1] == Settings())

        (tmp_path / "mesh.yaml").write_text(
            "{apiVersion: tulle.dev/v1alpha1, kind: MeshSettings, metadata: {name: mesh},"
            " spec: {reportSeconds: 1}}"
        )
        await until(lambda: found[-1] == Settings(report_seconds=1.0))


async def test_the_admin_page_tells_how_things_stand(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(MESH)
    async with mesh() as (_, bus), destination(bus, tmp_path) as running:
        await until(lambda: running.publisher.stats.published == 6)
        async with running.admin("127.0.0.1:0") as admin:
            text = await _get(admin.port, "/metrics")

            assert b"200 OK" in await _get(admin.port, "/ready")
        assert b'tulle_destination_objects{kind="Pod"} 1.0' in text
        assert b"tulle_destination_leading 1.0" in text
        assert b"tulle_destination_written_total 6.0" in text


async def _get(port: int, path: str) -> bytes:
    answer = b""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        async for chunk in stream:
            answer += chunk
    return answer
