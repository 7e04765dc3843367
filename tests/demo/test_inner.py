"""The inner side: starts programs in stages, tells when they are ready or why not, leaves nothing behind.

Real processes, no mesh: small shell and Python programs stand for the mesh's.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import msgspec
import pytest

from demo.launch import InnerSide, LaunchFailed
from demo.messages import (
    Accepts,
    Answers,
    Bring,
    Ended,
    Finishes,
    Listens,
    Program,
    Readiness,
    Relay,
    Runs,
    Stage,
    Step,
)
from demo.programs import PYTHON, Paths
from tests.support.hosts import require
from tests.support.nats import until

pytestmark = pytest.mark.anyio
ENV = {"PATH": os.environ["PATH"]}
SLEEP = "trap 'echo asked; exit 0' TERM; echo begun; while :; do sleep 0.05; done"
# Asks nobody: it ignores the signal to end, and starts a child that has left its session.
STUBBORN = "trap '' TERM; setsid sleep 1000 & echo $!; while :; do sleep 0.05; done"
SERVE = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ready" else 503)
        self.end_headers()
http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""


@pytest.fixture
def paths() -> Iterator[Paths]:
    made = Paths(root=Path(tempfile.mkdtemp(prefix="tulle-test-inner-")))
    yield made
    assert not made.root.exists()


def shell(name: str, script: str, ready: Readiness | None = None) -> Program:
    return Program(name=name, argv=("sh", "-c", script), env=ENV, ready=ready or Runs())


def server(name: str, host: str, port: int, ready: Readiness) -> Program:
    argv = (sys.executable, "-c", SERVE, host, str(port))
    return Program(name=name, argv=argv, env=ENV, ready=ready)


def bring(paths: Paths, *stages: tuple[Program, ...], patience: float = 20.0) -> Bring:
    return Bring(
        network=(), relays=(), stages=stages, logs=str(paths.logs), patience=patience, grace=1.0
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}").exists()}


def log(paths: Paths, name: str) -> str:
    return (paths.logs / f"{name}.log").read_text()


async def test_stages_come_up_one_after_the_other(paths: Paths) -> None:
    port = free_port()
    stages: list[Stage] = []
    async with InnerSide(paths, transparent=False) as inner:
        await inner.bring_up(
            bring(
                paths,
                (shell("first", "echo done", Finishes()),),
                (server("web", "127.0.0.1", port, Listens((port,), "127.0.0.1")),),
                (shell("last", f"exec 3<>/dev/tcp/127.0.0.1/{port} || true; {SLEEP}"),),
            ),
            stages.append,
        )

    assert [stage.programs for stage in stages] == [("first",), ("web",), ("last",)]


@pytest.mark.parametrize("path", ["ready", "other"])
async def test_a_program_is_ready_when_its_admin_port_says_so(paths: Paths, path: str) -> None:
    port = free_port()
    ready = Answers(f"http://127.0.0.1:{port}/{path}")
    order = bring(paths, (server("web", "127.0.0.1", port, ready),), patience=1.5)
    async with InnerSide(paths, transparent=False) as inner:
        if path == "ready":
            await inner.bring_up(order, lambda stage: None)
        else:
            with pytest.raises(LaunchFailed, match=r"not ready after 1\.5 s: .*503"):
                await inner.bring_up(order, lambda stage: None)


async def test_a_program_that_ends_is_named_with_its_last_words(paths: Paths) -> None:
    script = "for i in $(seq 40); do echo line $i; done; exit 3"
    async with InnerSide(paths, transparent=False) as inner:
        with pytest.raises(LaunchFailed) as failed:
            await inner.bring_up(
                bring(paths, (shell("broken", script, Accepts("127.0.0.1", 1)),)),
                lambda stage: None,
            )

    first, *said = str(failed.value).splitlines()
    assert first == "broken did not come up: it ended with exit status 3"
    assert said[-1].strip() == "line 40"
    assert len(said) == 15


async def test_a_command_that_does_not_exist_is_named(paths: Paths) -> None:
    nothing = Program(name="app", argv=("/no/such/program",), env=ENV, ready=Runs())
    async with InnerSide(paths, transparent=False) as inner:
        with pytest.raises(
            LaunchFailed, match="app did not come up: /no/such/program: No such file"
        ):
            await inner.bring_up(bring(paths, (nothing,)), lambda stage: None)


async def test_a_network_that_cannot_be_built_is_explained(paths: Paths) -> None:
    steps = (Step(argv=("sh", "-c", "cat; exit 2"), text="what it read"),)
    order = Bring(network=steps, relays=(), stages=(), logs=str(paths.logs), patience=5, grace=1)
    async with InnerSide(paths, transparent=False) as inner:
        with pytest.raises(LaunchFailed, match=r"network did not come up: .* failed: what it read"):
            await inner.bring_up(order, lambda stage: None)


async def test_programs_are_asked_to_end_before_they_are_made_to(paths: Paths) -> None:
    async with InnerSide(paths, transparent=False) as inner:
        await inner.bring_up(
            bring(paths, (shell("a", SLEEP),), (shell("b", SLEEP),)), lambda stage: None
        )
        await until(lambda: "begun" in log(paths, "a") and "begun" in log(paths, "b"))

        await inner.stop(everything=False)
        assert log(paths, "b").endswith("asked\n")
        assert not log(paths, "a").endswith("asked\n")

        await inner.stop(everything=True)
        assert log(paths, "a").endswith("asked\n")


async def test_a_program_that_ends_by_itself_is_told_of(paths: Paths) -> None:
    async with InnerSide(paths, transparent=False) as inner:
        await inner.bring_up(
            bring(paths, (shell("short", "sleep 0.3; kill -9 $$"),)), lambda stage: None
        )

        with anyio.fail_after(10):
            async for event in inner.events():
                assert event == Ended("short", -signal.SIGKILL)
                break


@pytest.mark.parametrize("transparent", [False, True])
async def test_nothing_survives_that_will_not_end(paths: Paths, *, transparent: bool) -> None:
    if transparent:
        require()
    async with InnerSide(paths, transparent=transparent) as inner:
        await inner.bring_up(bring(paths, (shell("stubborn", STUBBORN),)), lambda stage: None)
        await until(lambda: len(descendants(os.getpid())) >= 3)
        children = descendants(os.getpid())

    await until(lambda: not alive(children))


@pytest.mark.parametrize("transparent", [False, True])
async def test_nothing_survives_a_launcher_that_is_killed(
    paths: Paths, *, transparent: bool
) -> None:
    if transparent:
        require()
    code = f"""
import anyio, sys, msgspec
from pathlib import Path
from demo.launch import InnerSide
from demo.messages import Bring
from demo.programs import Paths
async def main():
    paths = Paths(root=Path(sys.argv[1]))
    async with InnerSide(paths, transparent={transparent}) as inner:
        await inner.bring_up(msgspec.json.decode(sys.argv[2], type=Bring), lambda stage: None)
        print("up", flush=True)
        await anyio.sleep_forever()
anyio.run(main)
"""
    order = bring(paths, (shell("stubborn", STUBBORN), shell("willing", SLEEP)))
    with (
        subprocess.Popen(  # noqa: ASYNC220 - starting it takes no time
            [*PYTHON[:2], "-c", code, str(paths.root), msgspec.json.encode(order).decode()],
            stdout=subprocess.PIPE,
            text=True,
        ) as launcher
    ):
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "up\n"
        await until(lambda: len(descendants(launcher.pid)) >= 4)
        children = descendants(launcher.pid)

        launcher.kill()

    await until(lambda: not alive(children) and not paths.root.exists())


async def test_a_relay_leads_from_outside_to_a_port_inside(paths: Paths) -> None:
    require()
    with socket.create_server(("127.0.0.1", 0)) as outside:
        address = outside.getsockname()
        order = Bring(
            network=(Step(argv=("ip", "link", "set", "lo", "up")),),
            relays=(Relay(fd=outside.fileno(), host="127.0.0.1", port=80),),
            stages=((server("web", "127.0.0.1", 80, Accepts("127.0.0.1", 80)),),),
            logs=str(paths.logs),
            patience=20,
            grace=1,
        )
        async with InnerSide(paths, transparent=True, fds=[outside.fileno()]) as inner:
            outside.close()
            await inner.bring_up(order, lambda stage: None)
            async with await anyio.connect_tcp(*address) as stream:
                await stream.send(b"GET /ready HTTP/1.0\r\n\r\n")
                answer = await stream.receive()

    assert answer.startswith(b"HTTP/1.0 200")


def descendants(pid: int) -> set[int]:
    """Every process below this one, as the kernel tells."""
    found: set[int] = set()
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            found |= {child} | descendants(child)
    return found
