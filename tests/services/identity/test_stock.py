"""Whom a rotation goes on waiting for, when somebody has fallen silent."""

import pytest

from common.clock import ManualClock
from common.contract.identity import TrustBundle
from common.names import WorkloadName
from services.identity.presence import Presence
from services.identity.roster import Roster
from services.identity.stock import Stock
from services.identity.system import Connection, Loaded, Server
from tests.support.certificates import self_signed

pytestmark = pytest.mark.anyio
BUNDLE = TrustBundle(trust_domain="cluster.local", anchors=(self_signed().certificate,))
MEMBERS = ("shop/web-1", "shop/web-2", "_/telemetry")


class Nobody:
    """NATS without a server."""

    async def servers(self) -> list[Server]:
        return []

    async def connections(self) -> list[Connection]:
        return []

    async def loaded(self, server: Server) -> Loaded:
        raise AssertionError("not asked")

    async def reload(self, server: Server) -> None:
        raise AssertionError("not asked")


async def test_who_is_silent_and_known_to_be_gone_is_not_waited_for() -> None:
    asked: list[WorkloadName] = []

    async def gone(workload: WorkloadName) -> bool:
        asked.append(workload)
        return workload.name == "web-1"

    roster = Roster(ManualClock())
    roster.connect(["shop/web-3"])
    stock = Stock(roster, Presence(Nobody(), dict), ManualClock())
    stock.take(MEMBERS, BUNDLE, 7)

    assert await stock.part(gone)
    stock.take(MEMBERS, BUNDLE, 7)

    # Nothing is asked of services, which are no pods' names, nor of whoever is there.
    assert asked == [WorkloadName("shop", "web-1"), WorkloadName("shop", "web-2")]
    waited = [one.name for one in stock.waiting]
    assert waited == ["_/telemetry", "shop/web-2", "shop/web-3"]
    assert not await stock.part(gone)
