"""The bus on three nodes, of which any one may die."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import msgspec
import pytest

from common.bus import Bus
from common.bus.streams import ensure
from common.contract import subjects
from common.contract.discovery import Service
from common.errors import BusUnavailable, RevisionConflict
from common.names import ServiceName
from common.nats_server import NatsServer, free_port
from tests.support.nats import until

pytestmark = pytest.mark.anyio

WEB = subjects.service(ServiceName("shop", "web"))


@asynccontextmanager
async def cluster(nodes: int = 3) -> AsyncIterator[dict[str, NatsServer]]:
    """Servers by name, which know of each other."""
    ports = [free_port() for _ in range(nodes)]
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    async with AsyncExitStack() as stack:
        servers = {}
        for number, port in enumerate(ports):
            listen = f'listen: "127.0.0.1:{port}", routes: [{routes}]'
            config = f"server_name: n{number}\ncluster {{ name: test, {listen} }}\n"
            servers[f"n{number}"] = await stack.enter_async_context(NatsServer(config))
        yield servers


async def ensured(bus: Bus) -> None:
    """Make sure of the streams, on all nodes."""
    while True:
        try:
            return await ensure(bus, replicas=3)
        except BusUnavailable:  # the nodes have not met yet
            await anyio.sleep(0.1)


async def write(bus: Bus, document: Service) -> int:
    """Write over whatever is there, as publishers do, until that is acknowledged."""
    while True:
        try:
            found = await bus.get(WEB)
            return await bus.put(WEB, document, expected=found.revision if found else 0)
        except (BusUnavailable, RevisionConflict):
            await anyio.sleep(0.05)


async def leader(bus: Bus) -> str:
    answer = await bus.ask(f"$JS.API.STREAM.INFO.{WEB.stream}", b"", timeout=5)
    return str(msgspec.json.decode(answer)["cluster"]["leader"])


async def test_followers_lose_nothing_and_never_go_back_when_the_streams_leader_is_killed() -> None:
    async with cluster() as servers:
        urls = [server.url for server in servers.values()]
        async with Bus(urls, name="publisher") as publisher, Bus(urls, name="far") as bus:
            with anyio.fail_after(30):
                await ensured(publisher)
            revisions: list[int] = []
            documents: list[Service | None] = []

            def on_change(document: Service | None, revision: int) -> None:
                documents.append(document)
                revisions.append(revision)

            bus.follow(WEB, on_change)
            with anyio.fail_after(60):
                for n in range(30):
                    if n == 15:
                        await servers[await leader(publisher)].kill()
                    last = Service(namespace="shop", name="web", slices=(f"{n}",))
                    await write(publisher, last)
            await until(lambda: documents and documents[-1] == last)

            told = [revision for revision in revisions if revision]
            assert told == sorted(set(told))
