"""NATS by hand: what one writes on the wire, and what the server says to it."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from common.x509 import bus_context
from tests.support.identity import Mesh


class Wire:
    """A connection by hand, as far as TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.info: dict[str, object] = {}
        self._reader = reader
        self._writer = writer

    async def read_info(self) -> None:
        line = (await self._reader.readline()).decode()
        self.info = json.loads(line.removeprefix("INFO "))

    async def secure(self, context: ssl.SSLContext, host: str = "127.0.0.1") -> None:
        await self._writer.start_tls(context, server_hostname=host)

    async def say(self, *lines: str) -> list[str]:
        """Say lines and hear everything until the server has answered a PING, or closed."""
        self._writer.write("".join(f"{line}\r\n" for line in (*lines, "PING")).encode())
        heard = []
        async with asyncio.timeout(40):
            with suppress(OSError):
                while line := (await self._reader.readline()).decode().strip():
                    if line == "PONG":
                        break
                    if not line.startswith(("INFO", "+OK", "PING")):
                        heard.append(line)
        return heard

    def knock(self, **options: object) -> None:
        """Say who one is, and wait for nothing."""
        self._writer.write(f"CONNECT {json.dumps({'protocol': 1, **options})}\r\n".encode())

    async def connect(self, **options: object) -> list[str]:
        given = {"verbose": False, "pedantic": False, "protocol": 1, "headers": True, **options}
        return await self.say(f"CONNECT {json.dumps(given)}")

    def read_no_more(self) -> None:
        """Leave all that comes where it is."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    @property
    def closed(self) -> bool:
        return self._reader.at_eof()

    def abort(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def wire(mesh: Mesh, *, secured: bool = True) -> AsyncIterator[Wire]:
    """A connection to the server; with TLS unless told otherwise."""
    reader, writer = await asyncio.open_connection(mesh.server.host, mesh.server.port)
    made = Wire(reader, writer)
    try:
        await made.read_info()
        if secured:
            await made.secure(bus_context(mesh.anchors_pem))
        yield made
    finally:
        made.abort()
