"""One look at a container: over HTTP, by a connection, or by a command in it."""

import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import anyio

Execute = Callable[[list[str]], Awaitable[bool]]
"""Runs a command where the container is; whether it ended well."""


async def passes(
    probe: dict[str, Any], address: str, ports: dict[str, int], execute: Execute
) -> bool:
    """Whether the container passes; `ports` are those that it gives names to."""
    with anyio.move_on_after(probe.get("timeoutSeconds", 1)):
        if command := probe.get("exec"):
            return await execute(command["command"])
        if get := probe.get("httpGet"):
            return await _get(get, f"{get.get('host') or address}:{_port(get, ports)}")
        if connect := probe.get("tcpSocket"):
            return await _connects(connect.get("host") or address, _port(connect, ports))
        raise ValueError(f"{probe}: not known to this kubelet")
    return False


def _port(of: dict[str, Any], ports: dict[str, int]) -> int:
    port = of["port"]
    return port if isinstance(port, int) else ports[port]


async def _get(get: dict[str, Any], where: str) -> bool:
    url = f"{get.get('scheme', 'HTTP').lower()}://{where}{get.get('path', '/')}"
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, ssl=_trusting(), headers={"user-agent": "kube-probe/1.35"}) as answer,
        ):
            return 200 <= answer.status < 400
    except (aiohttp.ClientError, OSError):
        return False


async def _connects(host: str, port: int) -> bool:
    try:
        async with await anyio.connect_tcp(host, port):
            return True
    except OSError:
        return False


def _trusting() -> ssl.SSLContext:
    """A kubelet's probes trust everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
