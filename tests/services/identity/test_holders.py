"""Who shows which key: asked to come again, identity last; and a thief, who never comes, is not waited for."""

from pathlib import Path

import pytest

from common.clock import ManualClock
from services.identity import nkey
from services.identity.bootstrap import bootstrap
from services.identity.directory import Side, beside
from services.identity.holders import SETTLE_SECONDS, Holder, Holders
from services.identity.key_steps import KeySteps
from services.identity.system import Connected, Connection, Server

pytestmark = pytest.mark.anyio


class Bus:
    """The connections that there are, and which of them were ended."""

    def __init__(self) -> None:
        self.there: list[Connection] = []
        self.ended: list[int] = []

    async def connections(self) -> list[Connection]:
        return self.there

    async def ask_to_leave(self, connection: Connection) -> None:
        self.ended.append(connection.connected.cid)


class World:
    """A rotation that waits for services to come with new keys."""

    def __init__(self, path: Path, *, distrust: bool = False) -> None:
        self.mesh, self.clock, self.bus = bootstrap(path / "mesh"), ManualClock(), Bus()
        self.steps = KeySteps(self.mesh, self.clock)
        self.steps.begin(("services",), distrust=distrust)
        self.steps.take()
        self.holders = Holders(self.bus, self.mesh, self.clock)

    def comes(self, cid: int, holder: Holder, side: Side) -> None:
        path = beside(self.mesh.seed_file(holder), side)
        connected = Connected(cid=cid, user=self.mesh.seed(path, nkey.USER).public)
        self.bus.there.append(Connection(server=Server(id="N1"), connected=connected))

    async def waiting(self) -> dict[str, str]:
        held = await self.holders.look(self.steps.progress)
        self.steps.note(members={one.holder for one in held})
        found = self.holders.waiting(self.steps.progress, held)
        return {one.name: one.why for one in found}

    async def kicked(self) -> list[int]:
        held = await self.holders.look(self.steps.progress)
        await self.holders.kick(self.steps.progress, held)
        ended, self.bus.ended = self.bus.ended, []
        return ended


async def test_identity_stays_for_a_while_and_leaves_one_replica_after_the_other(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    for cid in (0, 1):
        world.comes(cid, "identity", "old")
        world.comes(cid + 2, "telemetry", "old")
    world.comes(9, "destination", "new")

    assert await world.kicked() == [2, 3]
    assert await world.kicked() == []
    world.clock.advance(SETTLE_SECONDS)
    assert sorted(await world.kicked()) == [0, 2, 3]


@pytest.mark.parametrize("distrust", [False, True])
async def test_whoever_never_comes_is_waited_for_unless_the_old_keys_are_distrusted(
    tmp_path: Path, distrust: bool
) -> None:
    world = World(tmp_path, distrust=distrust)
    world.comes(1, "telemetry", "old")
    assert list(await world.waiting()) == ["telemetry"]

    world.comes(2, "telemetry", "new")
    world.comes(3, "operator", "old")

    still = dict.fromkeys(("operator", "telemetry"), "is still connected with its old key")
    assert await world.waiting() == ({} if distrust else still)
