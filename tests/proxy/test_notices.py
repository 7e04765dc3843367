"""What a proxy tells of its endpoints: never a flood, and nothing lost while the bus is away."""

from typing import Any, cast

import anyio
import pytest

from common.bus import Bus
from common.contract.discovery import FailureAccrual
from common.contract.events import Event
from common.contract.topic import Topic
from common.names import ServiceName, WorkloadName
from proxy.control.notices import BURST, LIMIT, Notices
from proxy.decide.balance import Balancer
from proxy.decide.candidate import Candidate
from tests.support.endpoints import SeededClock, endpoints
from tests.support.nats import until

pytestmark = pytest.mark.anyio
WEB = ServiceName("shop", "web")


class Ear:
    """As much of a bus as notices need."""

    def __init__(self) -> None:
        self.connected = anyio.Event()
        self.heard: list[tuple[str, Event]] = []

    async def wait_connected(self) -> None:
        await self.connected.wait()

    async def publish(self, topic: Topic[Any], message: Event) -> bool:
        self.heard.append((topic.subject, message))
        return True


def candidate(clock: SeededClock) -> Candidate:
    balancer = Balancer(clock)
    balancer.update(endpoints(1), FailureAccrual(max_failures=1, jitter_ratio=0.0))
    found = balancer.pick()
    assert found is not None
    found.failed(clock.monotonic(), clock.monotonic())
    return found


async def test_what_is_told_while_the_bus_is_away_is_heard_when_it_is_back() -> None:
    clock, ear = SeededClock(), Ear()
    notices = Notices(cast(Bus, ear), WorkloadName("shop", "client-1"), clock)
    async with anyio.create_task_group() as group:
        group.start_soon(notices.run)
        notices.tell(WEB, 8000, "ejected", candidate(clock))
        notices.tell(WEB, 8000, "readmitted", candidate(clock))
        await anyio.sleep(0.01)
        assert ear.heard == []

        ear.connected.set()
        await until(lambda: len(ear.heard) == 2, 5)
        group.cancel_scope.cancel()

    (subject, event), (other, _) = ear.heard
    assert subject == "tulle.v1.events.proxy.shop.client-1.ejected"
    assert other == "tulle.v1.events.proxy.shop.client-1.readmitted"
    assert event.fields == {
        "service": "web.shop:8000",
        "endpoint": "10.0.0.1:8000",
        "workload": "web-1",
        "by": "shop/client-1",
        "penalty": "1.000",
    }
    assert event.message == "web-1 failed 1 times in a row and is left alone"


async def test_a_flood_is_cut_short_and_what_was_left_out_is_counted() -> None:
    clock, ear = SeededClock(), Ear()
    ear.connected.set()
    notices = Notices(cast(Bus, ear), WorkloadName("shop", "client-1"), clock)
    broken = candidate(clock)
    async with anyio.create_task_group() as group:
        group.start_soon(notices.run)
        for _ in range(100):
            notices.tell(WEB, 8000, "ejected", broken)
        clock.advance(1.0)
        notices.tell(WEB, 8000, "readmitted", broken)
        await until(lambda: len(ear.heard) == BURST + 1, 5)
        group.cancel_scope.cancel()

    assert notices.ejections == 100
    assert ear.heard[-1][1].fields["untold"] == str(100 - BURST)
    assert "untold" not in ear.heard[-2][1].fields


async def test_without_a_bus_no_more_than_so_many_wait() -> None:
    clock, ear = SeededClock(), Ear()
    notices = Notices(cast(Bus, ear), WorkloadName("shop", "client-1"), clock)
    broken = candidate(clock)
    for number in range(3 * LIMIT):
        notices.tell(ServiceName("shop", f"web-{number}"), 8000, "ejected", broken)
        clock.advance(1.0)
    ear.connected.set()
    async with anyio.create_task_group() as group:
        group.start_soon(notices.run)
        await until(lambda: len(ear.heard) == LIMIT, 5)
        group.cancel_scope.cancel()

    told = [event.fields["service"] for _, event in ear.heard]
    assert told == [f"web-{number}.shop:8000" for number in range(2 * LIMIT, 3 * LIMIT)]
