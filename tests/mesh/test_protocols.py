"""Clients that nobody here wrote and that know `http_proxy`: what is not plain HTTP/1.1 asks for a tunnel."""

import os
import sys
from collections.abc import AsyncIterator

import anyio
import msgspec
import pytest
from websockets.asyncio.client import connect

from tests.support import grpc_client, grpc_server, sockets
from tests.support.grpc_client import Call, Calls, Outcome
from tests.support.mesh import RunningMesh, running_mesh

pytestmark = pytest.mark.anyio

APPLICATION = f"""
namespace: shop
workloads:
  - name: client
    command: [sleep, "1000"]
  - name: grpc
    command: ["{{python}}", "-P", "{grpc_server.__file__}", "{{address}}:{{port}}"]
    ports: [50051]
  - name: sockets
    command: ["{{python}}", "-P", "{sockets.__file__}", "{{address}}", "{{port}}"]
    ports: [8000]
"""


@pytest.fixture(scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningMesh]:
    async with running_mesh(tmp_path_factory.mktemp("mesh"), APPLICATION) as running:
        yield running


async def test_grpc_goes_through_a_tunnel_in_all_its_forms(mesh: RunningMesh) -> None:
    body = os.urandom(4_000_000)
    calls = (
        Call("Unary", (body,)),
        Call("Collect", (b"one", b"two")),
        Call("Repeat", metadata=(("times", b"10"),)),
        Call("Talk", tuple(b"%d" % number for number in range(100))),
    )
    asked = Calls(target="grpc.shop.svc.cluster.local:50051", calls=calls)

    done = await anyio.run_process(
        [sys.executable, "-P", grpc_client.__file__],
        input=msgspec.json.encode(asked),
        env=os.environ | {"http_proxy": mesh.proxy_url("client-1")},
    )
    told = msgspec.json.decode(done.stdout, type=list[Outcome])

    assert [outcome.code for outcome in told] == ["OK"] * 4, told
    unary, collect, repeat, talk = (outcome.replies for outcome in told)
    assert (unary, collect, repeat) == ((body,), (b"onetwo",), (b"hello",) * 10)
    assert talk == calls[3].messages
    edge = await mesh.edge("client", "grpc", requests=1)
    assert (edge.protocol, edge.mtls) == ("tcp", True)


async def test_a_websocket_goes_through_a_tunnel(mesh: RunningMesh) -> None:
    async with connect(
        "ws://sockets:8000/echo", proxy=mesh.proxy_url("client-1"), max_size=None
    ) as talk:
        for message in ("text", os.urandom(1_000_000)):
            await talk.send(message)
            assert await talk.recv() == message
