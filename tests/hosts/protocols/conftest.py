"""The mesh that all tests of this folder share."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import msgspec
import pytest

from tests.support import grpc_client
from tests.support.grpc_client import Call, Calls
from tests.support.intercepted import Intercepted, Talking
from tests.support.protocols import protocols


@pytest.fixture(scope="package")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the servers have their files."""
    return tmp_path_factory.mktemp("protocols")


@pytest.fixture(scope="package")
async def mesh(servers: Path) -> AsyncIterator[Intercepted]:
    async with protocols(servers) as up:
        yield up


@pytest.fixture(scope="package", autouse=True)
async def quiet(mesh: Intercepted) -> AsyncIterator[Talking]:
    """A gRPC call that is not answered for 45 seconds, while other tests run; then its client says 1."""
    call = Call("Repeat", metadata=(("sleep", b"45"),), aloud=True)
    calls = Calls(target="grpc:50051", calls=(call,))
    async with mesh.running("client-1", sys.executable, "-P", grpc_client.__file__) as client:
        await client.hear(msgspec.json.encode(calls))
        with anyio.fail_after(20):
            while not (await mesh.gauges("client-1"))["proxy_outbound_connections"]:
                pass
        yield client
