"""The kubelet's own port, which the API server asks for logs and forwarded ports."""

import contextlib
import ssl
from pathlib import Path

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSListener

from tests.support.certificates import self_signed
from tests.support.kubelet.network import NODE
from tests.support.kubelet.node import Node
from tests.support.kubelet.spdy import Forwarding

_MOST_HEAD = 65536


class Server:
    """Answers for a node's pods."""

    def __init__(self, node: Node, folder: Path, port: int) -> None:
        self._node = node
        self._port = port
        made = self_signed(NODE)
        pem = folder / "kubelet.pem"
        pem.write_text(made.certificate + made.key)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(pem)

    async def run(self) -> None:
        """Answer for ever."""
        listener = await anyio.create_tcp_listener(local_host=NODE, local_port=self._port)
        async with TLSListener(listener, self._tls, standard_compatible=False) as door:
            await door.serve(self._answer)

    async def _answer(self, stream: ByteStream) -> None:
        async with stream:
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                head = b""
                while b"\r\n\r\n" not in head and len(head) < _MOST_HEAD:
                    head += await stream.receive()
                path = head.split(b" ")[1].decode().partition("?")[0]
                what, namespace, pod, *container = path.strip("/").split("/")
                if what == "portForward":
                    await self._forward(stream, namespace, pod)
                else:
                    await _say(stream, *self._log(namespace, pod, container))

    def _log(self, namespace: str, pod: str, container: list[str]) -> tuple[str, bytes]:
        found = self._node.find(namespace, pod)
        for one in [*found.init, *found.main] if found else ():
            if container == [one.name]:
                return "200 OK", one.log.read_bytes() if one.log.exists() else b""
        return "404 Not Found", b"no such container\n"

    async def _forward(self, stream: ByteStream, namespace: str, pod: str) -> None:
        found = self._node.find(namespace, pod)
        if found is None:
            await _say(stream, "404 Not Found", b"no such pod\n")
            return
        await stream.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
            b"X-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n"
        )
        await Forwarding(stream, found.address).run()


async def _say(stream: ByteStream, status: str, body: bytes) -> None:
    head = f"HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n"
    await stream.send(f"{head}connection: close\r\n\r\n".encode() + body)
