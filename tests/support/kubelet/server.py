"""The kubelet's own port, which the API server asks for logs and forwarded ports.

Ports are forwarded over a WebSocket (`v4.channel.k8s.io`), as Kubernetes' clients other than kubectl ask
for it; kubectl's SPDY is not spoken here.
"""

import contextlib
import ssl
from pathlib import Path

import anyio
from aiohttp import WSMsgType, web
from anyio.abc import ByteStream

from tests.support.certificates import self_signed
from tests.support.kubelet.network import NODE
from tests.support.kubelet.node import Node

PROTOCOL = "v4.channel.k8s.io"


class Server:
    """Answers for a node's pods, from `async with` on."""

    def __init__(self, node: Node, folder: Path, port: int) -> None:
        self._node = node
        self._folder = folder
        self._port = port
        app = web.Application()
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        app.router.add_get("/portForward/{namespace}/{pod}", self._forward)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def __aenter__(self) -> "Server":
        made = self_signed(NODE)
        pem = self._folder / "kubelet.pem"
        pem.write_text(made.certificate + made.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        await self._runner.setup()
        await web.TCPSite(self._runner, NODE, self._port, ssl_context=context).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _logs(self, request: web.Request) -> web.Response:
        found = self._node.find(request.match_info["namespace"], request.match_info["pod"])
        for one in [*found.init, *found.main] if found else ():
            if one.name == request.match_info["container"]:
                return web.Response(text=one.log.read_text() if one.log.exists() else "")
        return web.Response(status=404, text="no such container\n")

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        found = self._node.find(request.match_info["namespace"], request.match_info["pod"])
        if found is None:
            return web.Response(status=404, text="no such pod\n")
        port = int(request.query["port"])
        socket = web.WebSocketResponse(protocols=(PROTOCOL,))
        await socket.prepare(request)
        told = port.to_bytes(2, "little")
        await socket.send_bytes(b"\0" + told)
        await socket.send_bytes(b"\1" + told)
        try:
            stream = await anyio.connect_tcp(found.address, port)
        except OSError as error:
            await socket.send_bytes(b"\1" + f"{port}: {error}".encode())
        else:
            async with stream:
                await _pass_on(socket, stream)
        await socket.close()
        return socket


async def _pass_on(socket: web.WebSocketResponse, stream: ByteStream) -> None:
    async with anyio.create_task_group() as group:

        async def back() -> None:
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, OSError):
                while True:
                    await socket.send_bytes(b"\0" + await stream.receive())
            group.cancel_scope.cancel()

        group.start_soon(back)
        async for message in socket:
            if message.type is WSMsgType.BINARY and message.data[:1] == b"\0":
                await stream.send(message.data[1:])
        group.cancel_scope.cancel()
