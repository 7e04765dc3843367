"""The journal: every certificate is told of, and nobody's noise hides what happens to others."""

from collections.abc import AsyncIterator

import pytest

from common.clock import ManualClock
from common.contract import subjects
from common.contract.events import Event
from services.identity.journal import Journal
from tests.support.nats import mesh, until

pytestmark = pytest.mark.anyio


class Heard:
    """A journal, the clock that it goes by, and what is heard of it."""

    def __init__(self, clock: ManualClock, journal: Journal) -> None:
        self.clock = clock
        self.journal = journal
        self.events: list[Event] = []

    async def all(self, count: int) -> list[Event]:
        """What was told since the last time, once there are so many of it."""
        await until(lambda: len(self.events) >= count)
        found, self.events[:] = list(self.events), []
        return found


@pytest.fixture
async def heard() -> AsyncIterator[Heard]:
    async with mesh() as (_, bus):
        clock = ManualClock()
        told = Heard(clock, Journal(bus, clock))
        for what in ("issued", "refused"):
            topic = subjects.event("identity", what)
            await bus.listen(topic, lambda _, event: told.events.append(event))
        yield told


async def test_each_of_a_thousand_certificates_is_told_of(heard: Heard) -> None:
    for number in range(1000):
        await heard.journal.tell("issued", "a certificate", workload=f"shop/web-{number}")

    events = await heard.all(1000)
    assert len({event.fields["workload"] for event in events}) == 1000
    assert heard.journal.counts["issued"] == 1000


async def test_noise_is_counted_and_hides_nobody_else(heard: Heard) -> None:
    for _ in range(500):
        await heard.journal.tell("refused", "no token")
        await heard.journal.tell("refused", "too often", workload="shop/noisy")
    await heard.journal.tell("refused", "not theirs", workload="shop/quiet", reason="x")
    await heard.journal.tell("issued", "a certificate", workload="shop/noisy")

    events = await heard.all(132)
    assert [event.what for event in events].count("refused") == 131
    (quiet,) = [event for event in events if event.message == "not theirs"]
    assert (quiet.fields["workload"], quiet.fields["reason"]) == ("shop/quiet", "x")
    assert sum(int(event.fields.get("untold_before", "0")) for event in events) == 870
    assert [event.fields for event in events if event.what == "issued"] == [
        {"workload": "shop/noisy"}
    ]
    assert heard.journal.counts["refused"] == 1001


async def test_whoever_calms_down_is_heard_again(heard: Heard) -> None:
    for _ in range(31):
        await heard.journal.tell("refused", "too often", workload="shop/noisy")
    heard.clock.advance(2)
    await heard.journal.tell("refused", "once more", workload="shop/noisy")

    assert (await heard.all(31))[-1].message == "once more"
