"""Telemetry on a real bus: reports in, answers out."""

from collections.abc import AsyncIterator

import anyio
import pytest

from common.bus import Bus
from common.contract import subjects
from common.contract.telemetry import EdgesRequest, Filter, StatRequest
from common.contract.topic import Topic
from common.errors import Refused
from common.names import WorkloadName
from common.nats_server import NatsServer
from services.telemetry import service
from services.telemetry.service import Telemetry
from tests.support.nats import connected, until
from tests.support.reports import BOOKS, WEB, report, series

pytestmark = pytest.mark.anyio

WEB_1 = subjects.metrics(WorkloadName("shop", "web-1"))


@pytest.fixture
async def server() -> AsyncIterator[NatsServer]:
    async with NatsServer() as server:
        yield server


async def get(port: int, path: str) -> str:
    """What the admin port answers."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        answer = b""
        with anyio.fail_after(5):
            async for part in stream:
                answer += part
    return answer.decode()


async def tell(bus: Bus, telemetry: Telemetry, requests: int, age: float = 0.0) -> None:
    """Report for web-1 and wait until it has been heard."""
    heard = telemetry.ledger.outcomes.total()
    assert await bus.publish(WEB_1, report(series(requests), age=age))
    await until(lambda: telemetry.ledger.outcomes.total() > heard)


async def test_what_proxies_report_is_answered_to_whoever_asks(server: NatsServer) -> None:
    async with connected(server) as ours, connected(server) as theirs:
        telemetry = Telemetry(ours)
        await telemetry.start()
        await tell(theirs, telemetry, 100, age=1.0)

        edges = await theirs.request(subjects.edges(), EdgesRequest())
        stat = await theirs.request(subjects.stat(), StatRequest(of=Filter(name="web")))

    (edge,), (row,) = edges.rows, stat.rows
    assert (edge.source_identity, edge.target_identity, edge.mtls) == (WEB, BOOKS, True)
    assert edge.figures.requests == 100
    assert (row.namespace, row.name, row.meshed, row.figures.requests) == ("shop", "web", "1/1", 0)
    assert edges.window == 60.0
    assert 0.0 < edges.covered < 60.0


async def test_two_replicas_share_the_questions_and_know_the_same(server: NatsServer) -> None:
    async with connected(server) as a, connected(server) as b, connected(server) as asker:
        replicas = [Telemetry(a), Telemetry(b)]
        for replica in replicas:
            await replica.start()
        await asker.publish(WEB_1, report(series(7), age=1.0))
        await until(lambda: all(len(replica.ledger) for replica in replicas))

        answers = [await asker.request(subjects.edges(), EdgesRequest()) for _ in range(8)]

    assert {answer.rows[0].figures.requests for answer in answers} == {7}
    assert len({answer.covered for answer in answers}) == 8


async def test_a_report_about_somebody_else_is_left_aside(server: NatsServer) -> None:
    async with connected(server) as bus:
        telemetry = Telemetry(bus)
        await telemetry.start()
        await bus.publish(WEB_1, report(series(100), workload="books-1"))
        await bus.publish(WEB_1, report(series(100), namespace="Not A Name"))
        await tell(bus, telemetry, 1)

    assert telemetry.ledger.outcomes == {"foreign": 2, "applied": 1}
    assert [account.workload for account in telemetry.ledger] == ["web-1"]


async def test_what_is_no_report_disturbs_no_other(server: NatsServer) -> None:
    nonsense = Topic(WEB_1.subject, StatRequest)
    async with connected(server) as bus:
        telemetry = Telemetry(bus)
        await telemetry.start()
        await bus.publish(nonsense, StatRequest())
        await tell(bus, telemetry, 1)

        assert bus.stats.undecodable == 1
    assert telemetry.ledger.outcomes == {"applied": 1}


@pytest.mark.parametrize("window", [0.0, -1.0, 3601.0])
async def test_a_window_out_of_bounds_is_refused_by_the_name_of_the_field(
    server: NatsServer, window: float
) -> None:
    async with connected(server) as bus:
        await Telemetry(bus).start()

        with pytest.raises(Refused, match="window"):
            await bus.request(subjects.stat(), StatRequest(window=window))


async def test_an_answer_too_long_for_one_message_says_so(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_BYTES", 10)
    async with connected(server) as bus:
        telemetry = Telemetry(bus)
        await telemetry.start()
        await tell(bus, telemetry, 1)

        with pytest.raises(Refused, match="one namespace"):
            await bus.request(subjects.edges(), EdgesRequest())


async def test_counting_goes_on_when_the_bus_comes_back(server: NatsServer) -> None:
    async with connected(server) as ours, connected(server) as theirs:
        telemetry = Telemetry(ours)
        await telemetry.start()
        await tell(theirs, telemetry, 100, age=1.0)

        await server.kill()
        await until(lambda: not ours.connected.value and not theirs.connected.value)
        await server.start()
        with anyio.fail_after(20):
            await ours.wait_connected()
            await theirs.wait_connected()
        await tell(theirs, telemetry, 130, age=11.0)

        answer = await theirs.request(subjects.edges(), EdgesRequest())
    assert answer.rows[0].figures.requests == 130


async def test_the_admin_port_shows_metrics_and_readiness(server: NatsServer) -> None:
    async with connected(server) as bus:
        telemetry = Telemetry(bus)
        async with telemetry.admin("127.0.0.1:0") as admin:
            await telemetry.start()
            await tell(bus, telemetry, 3)

            assert (await get(admin.port, "/live")).startswith("HTTP/1.1 200")
            assert (await get(admin.port, "/ready")).startswith("HTTP/1.1 200")
            metrics = await get(admin.port, "/metrics")

    assert "content-type: text/plain; version=0.0.4" in metrics
    assert 'dst_deployment="books"' in metrics
    assert 'telemetry_reports_total{outcome="applied"} 1.0' in metrics


async def test_without_a_bus_it_lives_and_is_not_ready() -> None:
    async with Bus(["nats://127.0.0.1:1"], name="test") as bus:
        telemetry = Telemetry(bus)
        async with telemetry.admin("127.0.0.1:0") as admin:
            await telemetry.start()

            assert (await get(admin.port, "/live")).startswith("HTTP/1.1 200")
            assert (await get(admin.port, "/ready")).startswith("HTTP/1.1 503")
            assert telemetry.ledger.covered(60.0, 1e12) == 0.0
