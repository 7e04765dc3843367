"""Steady traffic of several kinds, through a forward proxy or intercepted; every request that was accepted is
accounted for.

A connection that nobody accepted is `refused`, which a test may forgive. All else that goes wrong is `lost`.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import anyio

from tests.support.nats import until

PATIENCE_SECONDS = 15.0
"""A request that takes longer is lost."""


class Target(NamedTuple):
    """Where a load goes."""

    proxy: tuple[str, int]
    """Where clients connect."""
    authority: str
    direct: bool = False
    """Clients know of no proxy: `proxy` is the service itself."""


class Traffic:
    """One kind of traffic over `connections` at a time, with a pause between requests."""

    def __init__(
        self, name: str, target: Target, *, connections: int = 2, pause: float = 0.01
    ) -> None:
        self.name = name
        self.target = target
        self.begun = 0
        self.answered = 0
        self.refused = 0
        self.lost: list[str] = []
        self._connections = connections
        self._pause = pause

    def __repr__(self) -> str:
        return f"<{self.name} answered={self.answered} refused={self.refused} lost={self.lost[:5]}>"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Traffic"]:
        """Send for as long as the context lasts; what is on its way at the end is waited for."""
        stop = anyio.Event()
        async with anyio.create_task_group() as group:
            for _ in range(self._connections):
                group.start_soon(self._run, stop)
            try:
                yield self
            finally:
                stop.set()

    async def wait_for(self, more: int, seconds: float = 30.0) -> None:
        """Wait until so many more requests than now have been answered."""
        wanted = self.answered + more
        await until(lambda: self.answered >= wanted, seconds)

    async def _run(self, stop: anyio.Event) -> None:
        """Connect, and converse, until `stop`."""
        while not stop.is_set():
            try:
                reader, writer = await asyncio.open_connection(*self.target.proxy)
            except OSError:
                self.refused += 1
                await anyio.sleep(self._pause)
                continue
            try:
                await self._converse(reader, writer, stop)
            finally:
                writer.close()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stop: anyio.Event
    ) -> None:
        while True:
            number, self.begun = self.begun, self.begun + 1
            trouble, goes_on = "", False
            try:
                with anyio.fail_after(PATIENCE_SECONDS):
                    trouble, goes_on = await self.ask(reader, writer, number)
            except (OSError, EOFError, TimeoutError) as error:
                trouble = repr(error)
            if trouble:
                self.lost.append(f"{number}: {trouble}")
            else:
                self.answered += 1
            if stop.is_set():
                return
            await anyio.sleep(self._pause)
            if trouble or not goes_on:
                return

    async def ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> tuple[str, bool]:
        """One request: what was wrong with its answer, and whether the connection can take another."""
        raise NotImplementedError


class Http(Traffic):
    """HTTP/1.1 over connections that are kept; with `size`, POSTs with such a body."""

    def __init__(
        self,
        target: Target,
        *,
        size: int = 0,
        query: str = "",
        connections: int = 2,
        pause: float = 0.01,
    ) -> None:
        self._method = "POST" if size else "GET"
        super().__init__(self._method + query, target, connections=connections, pause=pause)
        self._body = b"b" * size
        self._query = query

    async def ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> tuple[str, bool]:
        path, authority = f"/{number}{self._query}", self.target.authority
        where = path if self.target.direct else f"http://{authority}{path}"
        writer.write(
            f"{self._method} {where} HTTP/1.1\r\nhost: {authority}\r\n"
            f"content-length: {len(self._body)}\r\n\r\n".encode()
        )
        writer.write(self._body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.lower().strip().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        body = await reader.readexactly(int(fields.get("content-length", "0")))
        goes_on = fields.get("connection") != "close"
        if not status.startswith("http/1.1 200"):
            return f"{status} {fields.get('tulle-error', '')}", goes_on
        seen = json.loads(body)
        whole = seen["path"] == path and len(seen["body"]) == len(self._body)
        return "" if whole else f"not its answer: {seen['path']}", goes_on


class Tcp(Traffic):
    """A new connection for each message, which must come back; with `pauses`, in so many parts, slowly."""

    def __init__(
        self,
        target: Target,
        *,
        parts: int = 1,
        part_pause: float = 0.0,
        connections: int = 2,
        pause: float = 0.02,
    ) -> None:
        super().__init__(
            "TCP" if parts == 1 else "long TCP", target, connections=connections, pause=pause
        )
        self._parts = parts
        self._part_pause = part_pause

    async def ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> tuple[str, bool]:
        if not self.target.direct and (refusal := await self._tunnel(reader, writer)):
            return refusal, False
        for part in range(self._parts):
            if part:
                await anyio.sleep(self._part_pause)
            message = b"\0%d/%d" % (number, part)
            writer.write(message)
            if await reader.readexactly(len(message)) != message:
                return "other bytes came back", False
        writer.write_eof()
        rest = await reader.read()
        return ("more bytes came back" if rest else ""), False

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """Ask for a tunnel; empty if there is one, else the answer."""
        authority = self.target.authority
        writer.write(f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        return "" if head.startswith(b"HTTP/1.1 200") else head.decode("latin-1")


@asynccontextmanager
async def running(*loads: Traffic) -> AsyncIterator[None]:
    """All of them, for as long as the context lasts."""
    async with anyio.create_task_group() as group:
        started = anyio.Event()
        stop = anyio.Event()

        async def run(load: Traffic) -> None:
            async with load.running():
                started.set()
                await stop.wait()

        for load in loads:
            group.start_soon(run, load)
        await started.wait()
        try:
            yield
        finally:
            stop.set()
