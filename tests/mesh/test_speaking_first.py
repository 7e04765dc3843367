"""Servers that speak first: nobody waits for them, and what one proxy learned the others know."""

import asyncio
from pathlib import Path

import anyio
import pytest

from common.contract import subjects
from common.contract.events import Learned
from demo.layout import Replica
from tests.support import talkers
from tests.support.mesh import RunningMesh, running_mesh
from tests.support.nats import until

pytestmark = pytest.mark.anyio

APPLICATION = f"""
namespace: shop
workloads:
  - name: client
    command: [sleep, "1000"]
  - name: greeter
    command: ["{{python}}", "-P", "{talkers.__file__}", "{{address}}", "{{port}}", greeter]
    ports: [7000]
"""


async def greeting(mesh: RunningMesh) -> bytes:
    """What the greeter says through a tunnel, before the client has said a word."""
    host, _, port = mesh.proxy_url("client-1").removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(b"CONNECT greeter:7000 HTTP/1.1\r\nhost: greeter:7000\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        with anyio.fail_after(5):
            return await reader.readline()
    finally:
        writer.close()


async def test_a_port_that_speaks_first_is_told_and_published_as_opaque(tmp_path: Path) -> None:
    async with running_mesh(tmp_path, APPLICATION) as mesh, mesh.bus() as bus:
        greeter: Replica = mesh.replica("greeter-1")
        heard: list[Learned] = []
        await bus.listen(subjects.learned_any(), lambda _, lesson: heard.append(lesson))

        assert await greeting(mesh) == b"220 ready\r\n"

        await until(lambda: heard)
        assert (heard[0].workload, heard[0].port) == ("greeter-1", 7000)
        document = subjects.workload(greeter.name)
        with anyio.fail_after(10):
            found = await bus.get(document)
            while found is None or 7000 not in found.message.opaque_ports:
                await anyio.sleep(0.05)
                found = await bus.get(document)
