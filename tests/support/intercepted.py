"""A whole mesh with real interception: each replica in a network namespace, and a way to run commands there."""

import contextlib
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from cli.mesh import operator_bus
from common.contract.telemetry import EdgeRow
from demo import namespaces
from demo.observer import Observer
from demo.plan import parse
from demo.programs import ADMIN_PORT
from demo.session import Session, started
from tests.support.hosts import PATH, require

# Connects, and hands the connection to whoever started it.
CONNECT = """
import socket, sys
talk = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10)
with socket.socket(fileno=int(sys.argv[3])) as door:
    socket.send_fds(door, [b"."], [talk.fileno()])
"""


class Intercepted:
    """A mesh that is up, in transparent mode."""

    def __init__(self, session: Session) -> None:
        self.session = session
        # unshare(1) has one child: the inner side, in the namespaces that we want to enter.
        unshare = session.inner.pid
        children = Path(f"/proc/{unshare}/task/{unshare}/children").read_text()
        self._inside = children.split()[0]

    def address(self, replica: str) -> str:
        """The address of a replica, such as `echo-1`."""
        return next(r.address for r in self.session.layout.replicas if r.name.name == replica)

    def command(self, replica: str, *argv: str) -> list[str]:
        """The command that runs `argv` where a replica runs."""
        enter = ("-t", self._inside, "-U", "--preserve-credentials", "-m", "-n", "-p", "--")
        return ["nsenter", *enter, *namespaces.inside(replica, argv)]

    async def run(self, replica: str, *argv: str, text: bytes = b"") -> str:
        """Run a command where a replica runs; its standard output. AssertionError if it fails."""
        done = await anyio.run_process(
            self.command(replica, *argv),
            input=text,
            env=os.environ | {"PATH": PATH},
            check=False,
        )
        said = done.stdout.decode("latin-1")
        assert done.returncode == 0, f"{argv}: {done.returncode}\n{said}{done.stderr.decode()}"
        return said

    @asynccontextmanager
    async def running(self, replica: str, *argv: str) -> AsyncIterator["Talking"]:
        """A command that runs where a replica runs, for as long as the context lasts."""
        # nsenter(1) does not end what it has started when it is ended itself.
        mortal = self.command(replica, "setpriv", "--pdeathsig", "KILL", "--", *argv)
        async with await anyio.open_process(mortal, env=os.environ | {"PATH": PATH}) as process:
            try:
                yield Talking(process)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()

    async def connect(self, replica: str, host: str, port: int) -> socket.socket:
        """A connection that was made where a replica runs, to be used here."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            await anyio.run_process(
                self.command(
                    replica, sys.executable, "-c", CONNECT, host, str(port), str(theirs.fileno())
                ),
                env=os.environ | {"PATH": PATH},
                pass_fds=[theirs.fileno()],
                stderr=None,
            )
            _, (descriptor,), _, _ = socket.recv_fds(ours, 1, 1)
        connection = socket.socket(fileno=descriptor)
        connection.setblocking(False)
        return connection

    async def edges(self) -> dict[tuple[str, str, str], EdgeRow]:
        """What telemetry says of (source, target, protocol), once all proxies have told of what is over."""
        async with operator_bus(self.session.mesh) as bus:
            observer = Observer(bus, self.session.layout)
            await observer.start()
            rows = await observer.settled(600.0)
        return {(row.source, row.target, row.protocol): row for row in rows}

    def proxy(self, replica: str) -> int:
        """The process id of a replica's proxy."""
        state = f"TULLE_STATE_DIR={self.session.paths.root}/state/{replica}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if state in (process / "environ").read_bytes().split(b"\0"):
                    return int(process.name)
        raise AssertionError(f"{replica} has no proxy")

    def service(self, name: str) -> int:
        """The process id of a service of the control plane, such as `destination`."""
        children = Path(f"/proc/{self._inside}/task/{self._inside}/children").read_text().split()
        module = f"services.{name}".encode()
        return next(
            int(pid)
            for pid in children
            if module in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        )

    def processes(self, replica: str) -> list[int]:
        """The process ids of all that runs where a replica runs."""
        where = os.readlink(f"/proc/{self.proxy(replica)}/ns/net")
        found: list[int] = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(process / "ns" / "net") == where:
                    found.append(int(process.name))
        return found

    def memory(self, replica: str, *, most: bool = False) -> int:
        """Bytes that a replica's proxy holds now; `most`: the most since it was last asked."""
        process = Path(f"/proc/{self.proxy(replica)}")
        status = (process / "status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB" if most else r"VmRSS:\s+(\d+) kB", status)
        assert found
        # proc(5): the peak is what is held now, from now on.
        (process / "clear_refs").write_text("5")
        return int(found[1]) * 1024

    async def gauges(self, replica: str) -> dict[str, float]:
        """What a replica's proxy says of itself: the lines of /metrics without labels."""
        said = await self.curl(replica, f"http://{self.address(replica)}:{ADMIN_PORT}/metrics")
        return {k: float(v) for k, v in re.findall(r"^(\w+) (\S+)$", said, re.MULTILINE)}

    async def curl(self, replica: str, *arguments: str) -> str:
        """What curl prints there."""
        return await self.run(replica, "curl", "-sS", "--max-time", "20", *arguments)


class Talking:
    """A program that runs, and what it says."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        self.process = process
        self._heard = BufferedByteReceiveStream(process.stdout)

    async def hear(self, text: bytes) -> None:
        """Give it all of its standard input."""
        assert self.process.stdin is not None
        await self.process.stdin.send(text)
        await self.process.stdin.aclose()

    async def line(self, seconds: float = 10.0) -> str:
        """The next line of its standard output, without its end."""
        with anyio.fail_after(seconds):
            return (await self._heard.receive_until(b"\n", 65536)).decode()


@asynccontextmanager
async def intercepted(application: str) -> AsyncIterator[Intercepted]:
    """A mesh with `application`, as for `tulle demo --file`; the test is skipped where it cannot be had."""
    require()
    async with started(
        parse(application),
        "transparent",
        os.environ,
        on_stage=lambda stage: None,
        keep_logs=None,
    ) as session:
        yield Intercepted(session)
