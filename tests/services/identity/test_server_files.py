"""NATS reads its certificate anew when it shows another one, and is left alone when it does not."""

import os
from pathlib import Path

import anyio
import pytest

from common.clock import SystemClock
from common.contract import subjects
from common.contract.identity import TrustQuestion
from common.errors import BusUnavailable
from services.identity import server_certificate
from tests.support.identity import Mesh, nats
from tests.support.nats import until

pytestmark = pytest.mark.anyio


def reloads(mesh: Mesh) -> int:
    return mesh.server.log_file.read_text().count("Reloaded server configuration")


async def seen_to(mesh: Mesh) -> None:
    """Wait until a replica of identity has seen to the servers' files."""
    async with mesh.role("operator") as operator:
        with anyio.fail_after(30):
            while True:
                try:
                    question = subjects.trust_status()
                    reply = await operator.request(question, TrustQuestion(), timeout=5)
                except BusUnavailable:
                    await anyio.sleep(0.05)
                else:
                    assert reply.trouble == ""
                    return


async def test_a_server_whose_clock_is_ahead_reads_a_certificate_that_is_new(
    tmp_path: Path,
) -> None:
    async with nats(tmp_path) as mesh:
        files = mesh.directory.server_file, mesh.directory.server_key_file
        hosts = ["127.0.0.1", "localhost", "nats"]
        assert server_certificate.renew(mesh.directory, SystemClock.now() - 5, hosts)
        for path in files:
            # By the server's clock this was long before it last read them.
            os.utime(path, (1e9, 1e9))

        async with mesh.identity():
            await until(lambda: reloads(mesh) == 1, 30)
        async with mesh.identity():
            await seen_to(mesh)

        assert reloads(mesh) == 1
