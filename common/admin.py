"""The admin port of every program: /live, and what else it has to tell, in answer to GET.

Deliberately tiny: one request a connection, a bounded head, a time limit. Only GET and HEAD.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from types import TracebackType
from typing import Self

from common.errors import InvalidSettings
from common.log import fields

log = logging.getLogger(__name__)

Answer = tuple[int, str, bytes]
"""Status, content type, body."""
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"

_MOST_HEAD = 8 * 1024
_SECONDS = 5.0
_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.[01]\r\n")


def ready(is_ready: Callable[[], bool]) -> Callable[[], Answer]:
    """A route for /ready: 200 once `is_ready`, 503 before."""
    return lambda: (200, TEXT, b"ready\n") if is_ready() else (503, TEXT, b"not ready\n")


class Admin:
    """Serves `routes` (path → answer) on `listen` for as long as the context lasts.

    `listen` is `host:port`; the host `*` is every address, IPv4 and IPv6.
    """

    def __init__(self, listen: str, routes: Mapping[str, Callable[[], Answer]]) -> None:
        self._host, self._port = _address(listen)
        self._routes = {"/live": lambda: (200, TEXT, b"live\n"), **routes}
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port that it listens on; useful if port 0 was asked for."""
        if self._server is None:
            return self._port
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        try:
            self._server = await asyncio.start_server(
                self._serve,
                None if self._host == "*" else self._host,
                self._port,
                limit=_MOST_HEAD,
            )
        except OSError as error:
            raise InvalidSettings(
                f"admin: cannot listen on {self._host}:{self._port}: {error.strerror or error}"
            ) from None
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Whoever is slow or has gone is owed nothing.
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_SECONDS):
                writer.write(await self._respond(reader))
                await writer.drain()
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_SECONDS):
                await writer.wait_closed()

    async def _respond(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _response((431, TEXT, b""))
        match = _REQUEST_LINE.match(head)
        if match is None:
            return _response((400, TEXT, b""))
        method, target = match.groups()
        route = self._routes.get(target.partition(b"?")[0].decode("ascii"))
        if method not in (b"GET", b"HEAD"):
            return _response((405, TEXT, b""), b"allow: GET, HEAD\r\n")
        if route is None:
            return _response((404, TEXT, f"try: {' '.join(sorted(self._routes))}\n".encode()))
        try:
            answer = route()
        except Exception:
            log.exception("an admin page failed", extra=fields(path=target.decode("ascii")))
            answer = (500, TEXT, b"")
        return _response(answer, with_body=method == b"GET")


def _response(answer: Answer, more: bytes = b"", *, with_body: bool = True) -> bytes:
    status, kind, body = answer
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {kind}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n"
    )
    return head.encode() + more + b"\r\n" + (body if with_body else b"")


def _address(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise InvalidSettings(f"admin: {listen!r}: expected HOST:PORT such as 127.0.0.1:9990")
    return host.strip("[]"), int(port)
