"""Peers with a valid certificate that speak the transport between proxies themselves."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from common.x509 import client_context
from demo.programs import INBOUND_PORT
from proxy.control.certify import LEAF_FILE
from proxy.transport import header
from proxy.transport.detect import Protocol
from tests.support.bad_clients import Line
from tests.support.mesh import RunningMesh


@asynccontextmanager
async def peer(
    mesh: RunningMesh, source: str, target: str, port: int, protocol: Protocol
) -> AsyncIterator[Line]:
    """A connection to the inbound port of `target`, with the certificate of `source`; the header is said."""
    leaf = (mesh.paths.state(mesh.replica(source)) / LEAF_FILE).read_bytes()
    anchors = (mesh.paths.mesh / "trust" / "anchor.pem").read_text()
    reader, writer = await asyncio.open_connection(
        mesh.replica(target).address,
        INBOUND_PORT,
        ssl=client_context(leaf, anchors),
        server_hostname=mesh.replica(target).identity.dns_name,
    )
    try:
        writer.write(header.write(port, protocol))
        yield Line(reader, writer)
    finally:
        writer.close()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
