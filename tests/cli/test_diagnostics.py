"""`tulle diagnostics` and `tulle version`: what is published, and what a proxy says it has, side by side."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from click.testing import CliRunner, Result

from cli.root import tulle
from common.bus import Bus
from common.clock import SystemClock
from common.contract import subjects
from common.contract.discovery import (
    Address,
    Endpoint,
    EndpointSlice,
    Service,
    ServicePort,
    Workload,
)
from common.contract.events import Ack, ShownLeaf
from common.contract.topic import State
from common.names import ServiceName, WorkloadName
from common.version import VERSION
from services.identity.bootstrap import bootstrap
from tests.support.identity import Mesh, nats

pytestmark = pytest.mark.anyio

WEB = WorkloadName("shop", "web-1")
BOOKS = ServiceName("shop", "books")
BOOKS_1 = Endpoint(
    address="10.1.2.3",
    ports={"http": 8000},
    workload="books-1",
    namespace="shop",
    identity="spiffe://cluster.local/ns/shop/sa/books",
    proxy_port=4143,
)


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    """A mesh whose bus.json tells where its NATS happens to listen, with identity."""
    async with nats(tmp_path) as mesh:
        bootstrap(mesh.directory.root, nats_port=mesh.server.port, store_dir=tmp_path / "store")
        async with mesh.identity():
            yield mesh


async def asked(mesh: Mesh, *words: str) -> Result:
    """What `tulle` prints."""
    runner = CliRunner(env={"TULLE_MESH": str(mesh.directory.root)})
    return await anyio.to_thread.run_sync(lambda: runner.invoke(tulle, words, prog_name="tulle"))


async def publish(bus: Bus) -> dict[str, int]:
    """What destination would; the revisions by subject."""
    service = Service(
        namespace="shop",
        name="books",
        addresses=("10.96.0.7",),
        ports=(ServicePort(port=80, name="http"),),
        slices=("books-a",),
    )
    part = EndpointSlice(namespace="shop", service="books", name="books-a", endpoints=(BOOKS_1,))
    own = Workload(namespace="shop", name="web-1", default_policy="deny", opaque_ports=(5432,))
    resident = Address(address="10.1.2.3", workload=BOOKS_1)
    return {
        (state := subjects.service(BOOKS)).subject: await bus.put(state, service, expected=0),
        (slice_ := subjects.endpoints(BOOKS, "books-a")).subject: await bus.put(
            slice_, part, expected=0
        ),
        (about := subjects.workload(WEB)).subject: await bus.put(about, own, expected=0),
        (address := subjects.address("10.1.2.3")).subject: await bus.put(
            address, resident, expected=0
        ),
        (front := subjects.address("10.96.0.7")).subject: await bus.put(
            front, Address(address="10.96.0.7", service="books.shop"), expected=0
        ),
    }


def ack(revisions: dict[str, int]) -> Ack:
    now = SystemClock.now()
    leaf = ShownLeaf(serial="ab", identity="spiffe://x", not_after=now + 3600)
    return Ack(
        namespace="shop",
        workload="web-1",
        uid="",
        revisions=revisions,
        time=now,
        leaf=leaf,
        version=VERSION,
    )


def rows(result: Result) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines()]


async def test_documents_are_shown_with_their_revisions_and_what_lies_in_them(mesh: Mesh) -> None:
    async with mesh.role("destination") as destination:
        revisions = await publish(destination)
        endpoints = await asked(mesh, "diagnostics", "endpoints", "books.shop.svc.cluster.local:80")
        as_json = await asked(mesh, "diagnostics", "endpoints", "books.shop", "-o", "json")
        addresses = await asked(mesh, "diagnostics", "address", "10.1.2.3", "10.96.0.7")
        nothing = await asked(mesh, "diagnostics", "address", "10.9.9.9")
        no_name = await asked(mesh, "diagnostics", "endpoints", "books")

    told = rows(endpoints)
    service, part = (revisions[s.subject] for s in (subjects.service(BOOKS), books_a()))
    assert (endpoints.exit_code, endpoints.stderr) == (0, "")
    assert told[1:3] == [
        ["discovery.service.shop.books", str(service)],
        ["discovery.endpoints.shop.books.books-a", str(part)],
    ]
    assert "service books.shop at 10.96.0.7, ports http:80 (detect)" in endpoints.stdout
    assert told[-1] == [
        *("shop", "books-1", "10.1.2.3", "http:8000", "yes", "4143"),
        *("spiffe://cluster.local/ns/shop/sa/books", "-", "books-a"),
    ]
    ((first, second),) = json.loads(as_json.stdout)
    assert (first["published"], first["in_force"]) == (service, None)
    assert second["message"]["endpoints"][0]["workload"] == "books-1"
    assert "10.96.0.7 is service books.shop" in addresses.stdout
    assert rows(addresses)[-1][:3] == ["shop", "books-1", "10.1.2.3"]
    assert nothing.exit_code == 1
    assert "nothing is published there" in nothing.stderr
    assert no_name.exit_code == 2
    assert "expected NAME.NAMESPACE" in no_name.stderr


def books_a() -> State[EndpointSlice]:
    return subjects.endpoints(BOOKS, "books-a")


async def test_what_a_proxy_has_in_force_stands_beside_what_is_published(mesh: Mesh) -> None:
    async with (
        mesh.role("destination") as destination,
        mesh.workload_bus(WEB, mesh.token(WEB, "web")) as proxy,
    ):
        revisions = await publish(destination)
        with anyio.fail_after(15):
            await proxy.wait_connected()
        older = {**revisions, subjects.service(BOOKS).subject: 1, "tulle.v1.nonsense": 7}
        older |= {subjects.address("10.4.4.4").subject: 9}
        del older[books_a().subject]

        async def say_it() -> None:
            while True:
                await proxy.publish(subjects.ack(WEB), ack(older))
                await anyio.sleep(0.1)

        async with anyio.create_task_group() as group:
            group.start_soon(say_it)
            whole = await asked(mesh, "diagnostics", "proxy", "shop/web-1")
            part = await asked(
                mesh, "diagnostics", "endpoints", "books.shop", "--proxy", "shop/web-1"
            )
            own = await asked(mesh, "diagnostics", "workload", "shop/web-1")
            as_json = await asked(mesh, "diagnostics", "proxy", "shop/web-1", "-o", "json")
            group.cancel_scope.cancel()

    standing = {row[0]: " ".join(row[3:]) for row in rows(whole)[5:]}
    assert whole.exit_code == 1
    assert standing == {
        "mesh.trust": "not followed",
        "mesh.settings": "gone",
        "workload.shop.web-1": "in force",
        "discovery.address.10-1-2-3": "in force",
        "discovery.address.10-4-4-4": "gone",
        "discovery.address.10-96-0-7": "in force",
        "discovery.service.shop.books": "behind",
    }
    assert f"version   {VERSION}" in whole.stdout
    assert "ab, ends in 59m" in whole.stdout
    assert [row[3:] for row in rows(part)[1:3]] == [["behind"], ["not", "followed"]]
    assert own.exit_code == 0
    assert "policy        deny" in own.stdout
    assert "opaque ports  5432" in own.stdout
    documents = json.loads(as_json.stdout)["documents"]
    assert {one["standing"] for one in documents} == {"in force", "behind", "gone", "not followed"}


async def test_versions_are_told_by_services_and_proxies_themselves(mesh: Mesh) -> None:
    async with (
        mesh.role("destination") as destination,
        mesh.workload_bus(WEB, mesh.token(WEB, "web")) as proxy,
    ):
        await destination.serve("destination", "0.0.9", (), queue="destination")
        with anyio.fail_after(15):
            await proxy.wait_connected()

        with anyio.fail_after(20):
            while True:
                await proxy.publish(subjects.ack(WEB), ack({}))
                shown = await asked(mesh, "version")
                if "proxy" in shown.stdout:
                    break
        check = await asked(mesh, "check", "-o", "short")
        silent = await asked(mesh, "version", "--client", "-o", "json")

    assert shown.exit_code == 0
    assert rows(shown)[0][:2] == ["tulle", VERSION]
    assert rows(shown)[2:] == [
        ["identity", VERSION, "1"],
        ["destination", "0.0.9", "1"],
        ["proxy", VERSION, "1"],
    ]
    assert f"destination 0.0.9; this command is {VERSION}" in check.stdout
    assert list(json.loads(silent.stdout)) == ["version", "python"]
