"""Another trust anchor for a whole mesh under load, twice in a row, while one proxy cannot hear the bus."""

import json
from pathlib import Path

import anyio
import pytest

from demo.programs import INBOUND_PORT
from tests.mesh.test_survival import APPLICATION
from tests.support.command import tulle
from tests.support.mesh import Load, RunningMesh, running_mesh
from tests.support.relay import Line, relay

pytestmark = pytest.mark.anyio

AWAY = "shop/echo-2"
ESTABLISHED = "01"


def sessions(mesh: RunningMesh, name: str) -> set[str]:
    """Connections to a replica's inbound port, by the client's port (proc(5): /proc/net/tcp)."""
    octets = mesh.replica(name).address.split(".")
    wanted = "".join(f"{int(octet):02X}" for octet in reversed(octets)) + f":{INBOUND_PORT:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[2] == wanted and row[3] == ESTABLISHED}


async def rotation(mesh: RunningMesh, *words: str) -> tuple[int, dict[str, object], str]:
    """`tulle trust …`: its exit status, what it printed as JSON, and what it told people."""
    done = await tulle("trust", *words, "-o", "json", mesh=mesh.directory.root, seconds=60)
    return done.returncode, json.loads(done.stdout), done.stderr


def part(mesh: RunningMesh, line: Line, host: str, anchors: Path) -> None:
    """Let a proxy have the bus by a line that can be cut, and the anchors that there were at first."""
    anchors.write_bytes(mesh.directory.anchors_file.read_bytes())
    bus = f"tls://{host}:{line.port}"
    mesh.configure({"bus": bus, "trust_anchors_file": anchors}, "echo-2-proxy")


async def test_no_request_fails_in_two_rotations_and_who_was_away_recovers_alone(
    tmp_path: Path,
) -> None:
    async with running_mesh(tmp_path / "mesh", APPLICATION) as mesh:
        host, _, port = mesh.directory.bus().servers[0].removeprefix("tls://").rpartition(":")
        load = Load(mesh.proxy_url("client-1"), "http://echo:8000/")
        async with relay(int(port), host) as line:
            part(mesh, line, host, tmp_path / "anchors.pem")
            await mesh.restart("echo-2-proxy")
            async with load.running():
                await load.wait_for(100)
                line.cut()

                # Nobody is left behind unasked.
                status, found, told = await rotation(mesh, "rotate", "--timeout", "2s")
                assert (status, found["phase"]) == (1, "added")
                assert f"tulle: {AWAY}: " in told
                assert "--leave-behind NAME" in told

                before = sessions(mesh, "echo-1")
                assert before
                for number in (1, 2):
                    status, found, told = await rotation(mesh, "rotate", "--leave-behind", AWAY)
                    assert (status, found["phase"], found["completed"]) == (0, "steady", number)
                    await load.wait_for(100)
                await gone(mesh, before)
                assert "peer refused" in mesh.log("echo-2-proxy"), "it knows the first anchor only"

                line.mend()
                await recovered(mesh)
                await load.wait_for(200)

        assert load.failures == []
        assert mesh.log("nats-server").count("Server is ready") == 1


async def gone(mesh: RunningMesh, before: set[str]) -> None:
    """No session from before the first anchor went is left."""
    with anyio.fail_after(15):
        while before & sessions(mesh, "echo-1"):  # noqa: ASYNC110 - the kernel sets no event
            await anyio.sleep(0.1)


async def recovered(mesh: RunningMesh) -> None:
    """Everybody has the newest anchor in force, and a leaf below it."""
    with anyio.fail_after(40):
        while True:
            _, found, _ = await rotation(mesh, "status")
            if found["waiting"] == [] and found["acknowledged"] == 6:
                return
            await anyio.sleep(0.2)
