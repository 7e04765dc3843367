"""The embedded server: found, started, restarted, and never left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from common import nats_version
from common.errors import BusUnavailable, InvalidSettings
from common.nats_server import NatsServer, find_binary
from tests.support.nats import connected, until

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
HOLDER = """
import anyio
from common.nats_server import NatsServer

async def main():
    async with NatsServer() as server:
        print(server.pid, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_it_dies_with_a_parent_that_is_killed() -> None:
    with subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", HOLDER], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.send_signal(signal.SIGKILL)

    await until(lambda: not alive(pid))


async def test_it_leaves_no_process_and_no_file() -> None:
    async with NatsServer() as server:
        pid, folder = server.pid, server.log_file.parent
        assert pid is not None
        assert alive(pid)

    assert not alive(pid)
    assert not folder.exists()


async def test_it_is_stopped_when_the_body_fails() -> None:
    pids: list[int] = []

    async def body() -> None:
        async with NatsServer() as server:
            pids.append(server.pid or 0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await body()
    assert not alive(pids[0])


async def test_restarted_it_listens_on_the_same_port_and_has_kept_its_store() -> None:
    async with NatsServer() as server, connected(server) as bus:
        await bus.ask("$JS.API.STREAM.CREATE.kept", b'{"name": "kept", "subjects": ["kept"]}')
        before = server.port
        await server.restart()
        await until(lambda: bus.stats.connections == 2)

        assert server.port == before
        assert b'"kept"' in await bus.ask("$JS.API.STREAM.INFO.kept", b"")


async def test_a_given_store_outlives_it(tmp_path: Path) -> None:
    async with NatsServer(store=tmp_path / "store"):
        pass

    assert (tmp_path / "store" / "jetstream").exists()


async def test_a_configuration_that_is_wrong_is_told_with_what_the_server_said() -> None:
    with pytest.raises(BusUnavailable, match=r"(?s)did not start.*Parse error on line 1"):
        async with NatsServer("nonsense: {"):
            pass


async def test_a_port_that_is_taken_is_told() -> None:
    async with NatsServer() as first:
        with pytest.raises(BusUnavailable, match="address already in use"), anyio.fail_after(20):
            async with NatsServer(port=first.port):
                pass


async def test_a_configuration_in_a_file_is_used_in_place(tmp_path: Path) -> None:
    (tmp_path / "more.conf").write_text("server_name: from-an-include\n")
    config = tmp_path / "nats.conf"
    config.write_text("include ./more.conf\n")
    async with NatsServer(config) as server:
        log = server.log_file.read_text()

    assert "from-an-include" in log
    assert os.listdir(tmp_path)


@pytest.mark.parametrize("version", ["v2.12.0", "nats-server: v2.15.1", "3.0.0-dev", "2.12.0-RC.1"])
def test_a_server_that_is_new_enough_will_do(version: str) -> None:
    nats_version.check(version)


@pytest.mark.parametrize("version", ["2.11.9", "nats-server: v2.9.25", "1.4.1", ""])
def test_a_server_that_is_too_old_is_named_with_what_is_expected(version: str) -> None:
    with pytest.raises(InvalidSettings, match=r"too old for Tulle; expected 2\.12 or later"):
        nats_version.check(version)


def test_an_old_server_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "nats-server"
    old.write_text("#!/bin/sh\necho nats-server: v2.10.3\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))

    with pytest.raises(InvalidSettings, match=f"{old}: nats-server 2.10: too old"):
        find_binary()
