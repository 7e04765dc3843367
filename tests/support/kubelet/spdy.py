"""As much of SPDY/3.1 as `kubectl port-forward` needs: streams that carry ports of a pod.

For each connection the client opens two streams with the same request id: on one it is told of errors, on
the other bytes pass. See https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/.
"""

import contextlib
import struct
import zlib

import anyio
from anyio.abc import ByteStream, SocketStream, TaskGroup
from anyio.streams.buffered import BufferedByteReceiveStream

SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY = 1, 2, 3, 6, 7
FIN = 1
_CONTROL = 0x80030000
_GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)
_WORDS = """options head post put delete trace accept accept-charset accept-encoding accept-language
accept-ranges age allow authorization cache-control connection content-base content-encoding
content-language content-length content-location content-md5 content-range content-type date etag expect
expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified
location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te
trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get status 200_OK
version HTTP/1.1 url public set-cookie keep-alive origin"""
_REST = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203"
    " Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(len(word).to_bytes(4) + word.replace("_", " ").encode() for word in _WORDS.split())
    + _REST.encode()
)
"""What both sides' compression of headers knows from the beginning."""


class Forwarding:
    """One session: whatever port the client asks for is one of `address`."""

    def __init__(self, stream: ByteStream, address: str) -> None:
        self._stream = stream
        self._address = address
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj()
        self._mouth = anyio.Lock()
        self._errors: dict[str, int] = {}
        self._sockets: dict[int, SocketStream] = {}

    async def run(self) -> None:
        """Serve until the client goes."""
        heard = BufferedByteReceiveStream(self._stream)
        async with anyio.create_task_group() as group:
            with contextlib.suppress(anyio.IncompleteRead, OSError, *_GONE):
                while True:
                    first, second = struct.unpack(">II", await heard.receive_exactly(8))
                    flags, length = second >> 24, second & 0xFFFFFF
                    body = await heard.receive_exactly(length) if length else b""
                    if first & 0x80000000:
                        await self._control(first & 0xFFFF, body, group)
                    else:
                        await self._data(first, flags, body)
            group.cancel_scope.cancel()

    async def _control(self, kind: int, body: bytes, group: TaskGroup) -> None:
        if kind == PING:
            await self._say(_CONTROL | PING, 0, body)
        elif kind == SYN_STREAM:
            (number,) = struct.unpack(">I", body[:4])
            headers = self._headers(body[10:])
            none = self._deflate.compress(b"\0\0\0\0") + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            await self._say(_CONTROL | SYN_REPLY, 0, body[:4] + none)
            if headers["streamtype"] == "error":
                self._errors[headers["requestid"]] = number
            else:
                await self._connect(number, headers, group)
        elif kind == GOAWAY:
            group.cancel_scope.cancel()

    async def _data(self, number: int, flags: int, body: bytes) -> None:
        if socket := self._sockets.get(number):
            with contextlib.suppress(OSError, *_GONE):
                if body:
                    await socket.send(body)
                if flags & FIN:
                    await socket.send_eof()

    async def _connect(self, number: int, headers: dict[str, str], group: TaskGroup) -> None:
        # Whatever the client says next is already for the pod.
        error = self._errors.pop(headers["requestid"])
        try:
            socket = await anyio.connect_tcp(self._address, int(headers["port"]))
        except OSError as trouble:
            await self._say(error, FIN, str(trouble).encode())
            return
        self._sockets[number] = socket
        group.start_soon(self._pass_on, socket, number, error)

    async def _pass_on(self, socket: SocketStream, number: int, error: int) -> None:
        """Tell what the pod says, to its end."""
        async with socket:
            with contextlib.suppress(OSError, *_GONE):
                while True:
                    await self._say(number, 0, await socket.receive())
            del self._sockets[number]
        with contextlib.suppress(OSError, *_GONE):
            await self._say(number, FIN, b"")
            await self._say(error, FIN, b"")

    def _headers(self, block: bytes) -> dict[str, str]:
        text = self._inflate.decompress(block)
        words: list[str] = []
        at = 4
        while at < len(text):
            (length,) = struct.unpack(">I", text[at : at + 4])
            words.append(text[at + 4 : at + 4 + length].decode())
            at += 4 + length
        return dict(zip(words[::2], words[1::2], strict=True))

    async def _say(self, first: int, flags: int, body: bytes) -> None:
        async with self._mouth:
            await self._stream.send(struct.pack(">II", first, flags << 24 | len(body)) + body)
