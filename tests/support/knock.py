"""A connection to NATS by hand, from a host of one's choice: what the server says of a token."""

import asyncio
import json

from common.x509 import bus_context
from tests.support.identity import Mesh

ADMITTED = "PONG"
REFUSED = "-ERR 'Authorization Violation'"


async def knock(mesh: Mesh, token: str, host: str = "127.0.0.1") -> str:
    """The server's answer to a CONNECT with `token` from `host`, an address of this machine."""
    reader, writer = await asyncio.open_connection(
        mesh.server.host, mesh.server.port, local_addr=(host, 0)
    )
    try:
        await reader.readline()
        await writer.start_tls(bus_context(mesh.anchors_pem), server_hostname=mesh.server.host)
        options = {"auth_token": token, "verbose": False, "protocol": 1, "headers": True}
        writer.write(f"CONNECT {json.dumps(options)}\r\nPING\r\n".encode())
        async with asyncio.timeout(30):
            while (line := (await reader.readline()).decode().strip()).startswith(("INFO", "PING")):
                pass
        return line
    finally:
        writer.transport.abort()
