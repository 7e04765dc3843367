"""A whole mesh with real interception: each replica in a network namespace, and a way to run commands there."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from demo import namespaces
from demo.plan import parse
from demo.session import Session, started
from tests.support.hosts import PATH, require


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

    async def run(self, replica: str, *argv: str, text: bytes = b"") -> str:
        """Run a command where a replica runs; its standard output. AssertionError if it fails."""
        enter = (
            "nsenter",
            "-t",
            self._inside,
            "-U",
            "--preserve-credentials",
            "-m",
            "-n",
            "-p",
            "--",
        )
        done = await anyio.run_process(
            [*enter, *namespaces.inside(replica, argv)],
            input=text,
            env=os.environ | {"PATH": PATH},
            check=False,
        )
        said = done.stdout.decode("latin-1")
        assert done.returncode == 0, f"{argv}: {done.returncode}\n{said}{done.stderr.decode()}"
        return said

    async def curl(self, replica: str, *arguments: str) -> str:
        """What curl prints there."""
        return await self.run(replica, "curl", "-sS", "--max-time", "20", *arguments)


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
