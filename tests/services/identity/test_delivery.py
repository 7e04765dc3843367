"""NATS's servers read what the kubelet brings, whenever that is: asked now and then, no more than needed."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.clock import ManualClock
from common.errors import BusUnavailable
from common.kube.client import Client
from services.identity.cluster import layout
from services.identity.cluster.delivery import InPods
from services.identity.directory import write
from services.identity.presence import Presence
from services.identity.system import Connection, Loaded, Server
from tests.support.kube_api import kube_api
from tests.support.mirrors import World

pytestmark = pytest.mark.anyio


class Servers:
    """Two servers; what each has in its folder, and what it has read of it."""

    def __init__(self) -> None:
        self.brought = {"n0": "files:old", "n1": "files:old"}
        self.read = dict(self.brought)
        self.reloads: list[str] = []
        self.away = False

    async def servers(self) -> list[Server]:
        if self.away:
            raise BusUnavailable("no server answered")
        return [Server(id=name, name=name) for name in self.read]

    async def connections(self) -> list[Connection]:
        return []

    async def loaded(self, server: Server) -> Loaded:
        return Loaded(at=datetime.now(UTC), tags=(self.read[server.id],))

    async def reload(self, server: Server) -> None:
        self.reloads.append(server.id)
        self.read[server.id] = self.brought[server.id]


async def test_a_server_is_asked_again_until_it_has_read_what_there_is_and_left_alone_then(
    tmp_path: Path,
) -> None:
    clock, servers = ManualClock(), Servers()
    async with kube_api() as (_, access), Client(access) as client:
        world = World(client, "shop", tmp_path)
        await world.begin()
        mirror = await world.replica()
        delivery = InPods(mirror, Presence(servers, dict), clock, 30.0)
        late = "NATS server n0, n1: has not read Secret tulle-nats as it is now"

        assert await delivery.deliver() == late
        assert servers.reloads == []
        clock.advance(29.0)
        assert await delivery.deliver() == late
        assert servers.reloads == []
        servers.brought["n1"] = layout.nats_tag(mirror.mesh)
        clock.advance(1.0)
        assert await delivery.deliver() == late.replace("n0, n1", "n0")
        assert servers.reloads == ["n0", "n1"]

        servers.brought["n0"] = layout.nats_tag(mirror.mesh)
        clock.advance(30.0)
        assert await delivery.deliver() == ""
        assert servers.reloads == ["n0", "n1", "n0"]
        servers.away = True
        assert await delivery.deliver() == ""

        write(mirror.mesh.server_file, mirror.mesh.server_file.read_bytes() + b"\n")
        with pytest.raises(BusUnavailable):
            await delivery.deliver()
        servers.away = False
        assert await delivery.deliver() == late
        assert (await world.held("tulle-nats"))["server.pem"].endswith(b"\n\n")
