"""The installed command against a real mesh: TLS, the operator's key, telemetry as a program of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream

from common.bus import Bus
from common.clock import SystemClock
from common.contract import subjects
from common.contract.events import Event
from common.contract.telemetry import Report
from common.names import WorkloadName
from services.identity.bootstrap import bootstrap
from tests.support.command import command, environment_for, tulle
from tests.support.identity import Mesh, nats
from tests.support.reports import BOOKS, WEB, report, series

pytestmark = pytest.mark.anyio

WEB_1 = WorkloadName("shop", "web-1")
ISSUED = subjects.event("identity", "issued")
EVENT = Event(component="identity", what="issued", message="web\x1b", time=1.0)


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    """A mesh whose bus.json tells where its NATS happens to listen."""
    async with nats(tmp_path) as mesh:
        bootstrap(mesh.directory.root, nats_port=mesh.server.port, store_dir=tmp_path / "store")
        yield mesh


@asynccontextmanager
async def telemetry(mesh: Mesh) -> AsyncIterator[None]:
    """`python -m services.telemetry`, connected, until the end of the context."""
    seed = mesh.directory.seed_file("telemetry")
    env = mesh.environment(nkey_file=seed, admin_listen="127.0.0.1:0", log_format="json")
    program = [sys.executable, "-m", "services.telemetry"]
    async with await anyio.open_process(program, env=env, stdout=None) as process:
        try:
            log = BufferedByteReceiveStream(_opened(process.stderr))
            with anyio.fail_after(20):
                while b"connected to the bus" not in (
                    line := await log.receive_until(b"\n", 65536)
                ):
                    assert json.loads(line)["level"] == "info", line
            yield
            process.terminate()
            with anyio.fail_after(10):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()


@asynccontextmanager
async def started(
    mesh: Mesh, *arguments: str, stdout: int = subprocess.PIPE
) -> AsyncIterator[Process]:
    """`tulle` while it runs."""
    env = environment_for(mesh.directory.root)
    async with await anyio.open_process(
        command(*arguments), env=env, stdout=stdout, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()


def _opened(stream: ByteReceiveStream | None) -> ByteReceiveStream:
    assert stream is not None
    return stream


def now_report(requests: int) -> Report:
    """A report of web-1, five seconds old."""
    return report(series(requests), started=SystemClock.now() - 5.0, age=5.0)


async def answered(mesh: Mesh, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Ask until telemetry has something to tell."""
    with anyio.fail_after(30):
        while True:
            done = await tulle(*arguments, mesh=mesh.directory.root)
            if done.returncode or "web" in done.stdout:
                return done


async def test_what_an_admitted_proxy_reports_is_shown_by_stat_and_edges(mesh: Mesh) -> None:
    async with (
        mesh.identity(),
        telemetry(mesh),
        mesh.workload_bus(WEB_1, mesh.token(WEB_1, "web")) as proxy,
    ):
        with anyio.fail_after(20):
            await proxy.wait_connected()
        assert await proxy.publish(subjects.metrics(WEB_1), now_report(100))

        edges = await answered(mesh, "edges", "-o", "json")
        table = await answered(mesh, "edges")
        stat = await answered(mesh, "stat", "deploy/web", "-t", "10m")

    assert (edges.returncode, table.returncode, stat.returncode) == (0, 0, 0)
    (edge,) = json.loads(edges.stdout)["rows"]
    assert (edge["source_identity"], edge["target_identity"], edge["mtls"]) == (WEB, BOOKS, True)
    assert (edge["figures"]["requests"], edge["figures"]["rps"]) == (100, 20.0)
    assert " ".join(table.stdout.splitlines()[1].split()) == (
        "web books shop shop web.shop books.shop √"
    )
    assert stat.stdout.splitlines()[1].split()[:3] == ["shop", "web", "1/1"]
    assert "telemetry has listened for" in stat.stderr


async def test_without_telemetry_the_answer_says_what_to_look_at(mesh: Mesh) -> None:
    done = await tulle("stat", mesh=mesh.directory.root)

    assert (done.returncode, done.stdout) == (1, "")
    assert "nobody is there to answer; is telemetry running?" in done.stderr
    assert done.stderr.count("\n") == 1


async def test_a_quiet_mesh_shows_nothing_and_says_so(mesh: Mesh) -> None:
    async with telemetry(mesh):
        done = await tulle("edges", mesh=mesh.directory.root)

    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing was reported" in done.stderr


async def test_sub_prints_a_line_of_json_for_each_message(mesh: Mesh) -> None:
    arguments = ("bus", "sub", "tulle.v1.events.>", "--count", "2", "-o", "json")
    async with mesh.role("identity") as teller, started(mesh, *arguments) as listener:
        output = BufferedByteReceiveStream(_opened(listener.stdout))
        lines = [await _heard(teller, output)]
        await teller.publish(ISSUED, EVENT)
        with anyio.fail_after(10):
            lines.append(await output.receive_until(b"\n", 65536))
            assert await listener.wait() == 0

    for line in lines:
        said = json.loads(line)
        assert list(said) == ["subject", "time", "message"]
        assert said["subject"] == ISSUED.subject
        assert said["message"]["message"] == "web\x1b"
        assert said["time"].endswith("Z")
        assert b"\x1b" not in line


async def test_sub_prints_time_and_subject_and_indented_json_for_people(mesh: Mesh) -> None:
    async with (
        mesh.role("identity") as teller,
        started(mesh, "bus", "sub", "tulle.v1.>") as listener,
    ):
        output = BufferedByteReceiveStream(_opened(listener.stdout))
        first = await _heard(teller, output)
        second = await output.receive_until(b"\n", 65536)

    assert first.decode().split()[1:] == [ISSUED.subject]
    assert second == b"{"


async def test_sub_that_hears_too_little_in_its_time_fails(mesh: Mesh) -> None:
    arguments = ("bus", "sub", "tulle.v1.events.>", "--timeout", "100ms")
    patient = await tulle(*arguments, mesh=mesh.directory.root)
    counting = await tulle(*arguments, "--count", "3", mesh=mesh.directory.root)

    assert (patient.returncode, patient.stderr) == (0, "")
    assert counting.returncode == 1
    assert "0 of 3 messages within 0.1 s" in counting.stderr


async def test_sub_of_what_the_operator_may_not_hear_fails_and_says_so(mesh: Mesh) -> None:
    done = await tulle("bus", "sub", "$SYS.REQ.USER.AUTH", mesh=mesh.directory.root)

    assert (done.returncode, done.stdout) == (1, "")
    assert "not for the operator to hear" in done.stderr
    assert done.stderr.count("\n") == 1


async def test_ctrl_c_ends_sub_without_a_word(mesh: Mesh) -> None:
    async with mesh.role("identity") as teller, started(mesh, "bus", "sub", "tulle.v1.>") as sub:
        await _heard(teller, BufferedByteReceiveStream(_opened(sub.stdout)))
        assert await _interrupted(sub) == 130


async def test_watch_asks_until_ctrl_c(mesh: Mesh) -> None:
    watch = ("edges", "--watch", "-o", "json")
    async with telemetry(mesh), started(mesh, *watch) as edges:
        output = BufferedByteReceiveStream(_opened(edges.stdout))
        with anyio.fail_after(20):
            lines = [await output.receive_until(b"\n", 65536) for _ in range(2)]
        assert await _interrupted(edges) == 130

    assert [json.loads(line)["rows"] for line in lines] == [[], []]


async def test_watch_goes_on_while_telemetry_is_away(mesh: Mesh) -> None:
    async with started(mesh, "stat", "--watch", "-o", "json") as stat:
        errors = BufferedByteReceiveStream(_opened(stat.stderr))
        with anyio.fail_after(20):
            assert b"is telemetry running?" in await errors.receive_until(b"\n", 65536)
        async with telemetry(mesh):
            output = BufferedByteReceiveStream(_opened(stat.stdout))
            with anyio.fail_after(20):
                assert json.loads(await output.receive_until(b"\n", 65536))["rows"] == []


async def test_sub_whose_reader_has_gone_ends_without_a_word(mesh: Mesh) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    listening = started(mesh, "bus", "sub", "tulle.v1.>", stdout=writer)
    async with mesh.role("identity") as teller, listening as sub:
        os.close(writer)
        with anyio.fail_after(20):
            while sub.returncode is None:
                await teller.publish(ISSUED, EVENT)
                with anyio.move_on_after(0.05):
                    await sub.wait()
        assert (sub.returncode, await _rest(sub)) == (1, b"")


async def _heard(teller: Bus, output: BufferedByteReceiveStream) -> bytes:
    """Say something until the listener has heard it: its first line."""
    with anyio.fail_after(20):
        while True:
            await teller.publish(ISSUED, EVENT)
            with anyio.move_on_after(0.2):
                return await output.receive_until(b"\n", 65536)


async def _interrupted(process: Process) -> int:
    """Press Ctrl-C: the exit status, if nothing but the end of the line with `^C` was printed."""
    process.send_signal(signal.SIGINT)
    with anyio.fail_after(10):
        status = await process.wait()
    assert await _rest(process) in (b"", b"\n")
    return status


async def _rest(process: Process) -> bytes:
    return b"".join([part async for part in _opened(process.stderr)])
