"""NATS reads its certificate anew when it shows another one, and is left alone when it does not."""

import os
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from common.clock import ManualClock, SystemClock
from common.contract import subjects
from common.contract.identity import TrustQuestion
from common.errors import BusUnavailable
from services.identity import nats_files, server_certificate
from services.identity.bootstrap import bootstrap
from services.identity.parts import Parts
from services.identity.presence import Presence
from services.identity.server_files import AGAIN_SECONDS, InFiles
from services.identity.system import Connection, Loaded, Server
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


class Slow:
    """A server to which files come some time after they were written; and what it was asked."""

    def __init__(self) -> None:
        self.brought: tuple[str, ...] = ("old",)
        self.read: tuple[str, ...] = self.brought
        self.reloads = 0
        self.refuses = ""

    async def servers(self) -> list[Server]:
        return [Server(id="N1", name="tulle")]

    async def connections(self) -> list[Connection]:
        return []

    async def loaded(self, server: Server) -> Loaded:
        return Loaded(at=datetime.fromtimestamp(SystemClock.now() + 60, UTC), tags=self.read)

    async def reload(self, server: Server) -> None:
        self.reloads += 1
        if self.refuses:
            raise BusUnavailable(f"{server.name}: {self.refuses}")
        self.read = self.brought


async def test_a_server_that_does_not_find_the_new_files_is_asked_again_later(
    tmp_path: Path,
) -> None:
    mesh, clock, slow = bootstrap(tmp_path / "mesh"), ManualClock(), Slow()
    files = InFiles(mesh, Presence(slow, dict), clock, Parts(mesh, None))

    for _ in range(3):
        assert await files.deliver() == "NATS server tulle: has not read its new files"
    assert slow.reloads == 1

    slow.refuses = "not reloaded: no"
    clock.advance(AGAIN_SECONDS)
    for _ in range(3):
        assert await files.deliver() == "NATS server tulle: not reloaded: no"
    assert slow.reloads == 2

    slow.refuses, slow.brought = "", tuple(nats_files.marks(mesh).values())
    clock.advance(AGAIN_SECONDS)
    assert await files.deliver() == ""
    assert slow.reloads == 3
    slow.read = ("old",)
    assert await files.deliver() == "", "what was seen once is believed"
