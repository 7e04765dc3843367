"""A connection to an endpoint: plain, or mutual TLS to the proxy beside it."""

import asyncio
import errno
import ipaddress
import os
import socket
import ssl

import anyio

from proxy.refusals import ConnectFailed, TlsFailed
from proxy.transport import census
from proxy.transport.stream import Stream
from proxy.transport.tls import Tls
from proxy.transport.waiting import Waiting

_KEEPALIVE_SECONDS = 10
_USER_TIMEOUT_MS = 30_000


class Connector:
    """Opens connections that netfilter leaves alone: `mark` (SO_MARK) exempts them from redirection.

    `receive_buffer`: bytes that may come before somebody has to read them; 0: as the kernel thinks fit.
    """

    def __init__(self, mark: int, timeout: float, receive_buffer: int = 0) -> None:
        self._mark = mark
        self._timeout = timeout
        self._receive_buffer = receive_buffer

    async def plain(self, address: str, port: int) -> Stream:
        """A connection in the clear; reading is paused. Raises ConnectFailed."""
        try:
            with anyio.fail_after(self._timeout):
                return await self._open(address, port, Waiting())
        except (OSError, TimeoutError, ValueError) as error:
            raise ConnectFailed(f"{address}:{port}: {str(error) or 'timed out'}") from None

    async def mutual_tls(
        self, address: str, port: int, context: ssl.SSLContext, server_name: str
    ) -> Tls:
        """A connection over TLS to the one whose certificate names `server_name`; reading is paused.

        Raises ConnectFailed or TlsFailed.
        """
        done: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

        def ready(tls: Tls, error: Exception | None) -> None:
            if error is None:
                tls.pause_reading()
            if not done.done():
                done.set_result(error)

        tls = Tls(context, ready, server_hostname=server_name)
        try:
            with anyio.fail_after(self._timeout):
                await self._open(address, port, tls)
                error = await done
        except (OSError, TimeoutError, ValueError) as trouble:
            tls.abort()
            raise ConnectFailed(f"{address}:{port}: {str(trouble) or 'timed out'}") from None
        if error is not None:
            raise TlsFailed(f"{address}:{port}: {error}")
        return tls

    async def _open(
        self, address: str, port: int, protocol: "asyncio.BaseProtocol"
    ) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            if census.is_crowded(connection):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            connection.setblocking(False)
            if self._mark:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self._mark)
            if self._receive_buffer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
            await loop.sock_connect(connection, (address, port))
            tune(connection)
            transport, _ = await loop.create_connection(lambda: protocol, sock=connection)
        except BaseException:
            connection.close()
            raise
        census.enter(transport)
        return transport


def tune(connection: socket.socket) -> None:
    """Set what every connection wants: no delay, and an end to peers that vanish without a word."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
