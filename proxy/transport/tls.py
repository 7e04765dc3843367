"""TLS over a plain transport, by OpenSSL through memory buffers.

Why not the event loop's own TLS: it cannot half-close (TLS 1.3's close_notify ends one direction only,
RFC 8446 §6.1), and it holds a quarter of a megabyte of buffers for each connection. Received bytes go
through one buffer shared by all connections, because it is emptied before the next read begins.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import cast

_READ = 16 * 1024
"""A TLS record holds no more (RFC 8446 §5.1)."""
_shared = bytearray(64 * 1024)
_view = memoryview(_shared)


class Tls(asyncio.BufferedProtocol):
    """The TLS side of one connection: a protocol to the socket's transport, a Stream to its user.

    `ready(tls, None)` is called once when the handshake is done, or with the error that ended it; a
    user set by then hears everything that follows. A connection that ends without close_notify is
    lost with an error: whoever reads to the end must know that it is not the whole.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        ready: Callable[["Tls", Exception | None], None],
        *,
        server_hostname: str | None = None,
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.ssl_object = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_hostname is None,
            server_hostname=server_hostname,
        )
        self._ready: Callable[[Tls, Exception | None], None] | None = ready
        self._user: asyncio.Protocol | None = None
        self._raw: asyncio.Transport
        self._loop: asyncio.AbstractEventLoop
        self._paused = False
        self._closing = False
        self._sent_eof = False
        self._got_eof = False

    # From the socket.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected: shake hands."""
        self._raw = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        self._shake_hands()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return _view

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came from the socket."""
        self._incoming.write(_view[:nbytes])
        if self._ready is not None:
            self._shake_hands()
        if self._ready is None:
            self._deliver()

    def eof_received(self) -> bool:
        """The socket ended; without close_notify that is a truncation."""
        if not self._got_eof:
            self._fail(ConnectionResetError("ended without close_notify"))
        elif self._sent_eof:
            self._raw.close()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        self._closing = True
        if self._ready is not None:
            self._finish_handshake(error or ConnectionResetError("closed during the handshake"))
        elif self._user is not None:
            user, self._user = self._user, None
            user.connection_lost(error)

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        if self._user is not None:
            self._user.pause_writing()

    def resume_writing(self) -> None:
        """The socket's buffer has room again."""
        if self._user is not None:
            self._user.resume_writing()

    # For the user: see Stream.

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give later events to `protocol`."""
        assert isinstance(protocol, asyncio.Protocol)
        self._user = protocol

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        if self._closing or self._sent_eof:
            return
        try:
            sent = self.ssl_object.write(data)
            while sent < len(data):
                sent += self.ssl_object.write(memoryview(data)[sent:])
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._raw.write(self._outgoing.read())

    def write_eof(self) -> None:
        """Send close_notify; reading goes on."""
        if self._sent_eof or self._closing:
            return
        self._sent_eof = True
        # OpenSSL has written it by the time it says that it wants the peer's.
        with contextlib.suppress(ssl.SSLError):
            self.ssl_object.unwrap()
        if self._outgoing.pending:
            self._raw.write(self._outgoing.read())

    def close(self) -> None:
        """Send what is buffered and close_notify, then close."""
        if self._closing:
            return
        if self._ready is None:
            self.write_eof()
        self._closing = True
        self._raw.close()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._raw.abort()

    def is_closing(self) -> bool:
        """Whether it is over, or will be."""
        return self._closing

    def pause_reading(self) -> None:
        """Take no more from the socket."""
        self._paused = True
        if not self._closing:
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Take from the socket again, after what OpenSSL still holds."""
        if self._paused and not self._closing:
            self._paused = False
            self._raw.resume_reading()
            self._loop.call_soon(self._deliver)

    def get_write_buffer_size(self) -> int:
        """Bytes not yet given to the socket."""
        return self._raw.get_write_buffer_size()

    # Between them.

    def _shake_hands(self) -> None:
        try:
            self.ssl_object.do_handshake()
        except ssl.SSLWantReadError:
            self._raw.write(self._outgoing.read())
            return
        except (ssl.SSLError, ssl.CertificateError) as error:
            # The alert that OpenSSL wrote tells the peer why.
            self._raw.write(self._outgoing.read())
            self._finish_handshake(error)
            self._raw.close()
            return
        if self._outgoing.pending:
            self._raw.write(self._outgoing.read())
        self._finish_handshake(None)

    def _finish_handshake(self, error: Exception | None) -> None:
        ready, self._ready = self._ready, None
        self._closing = self._closing or error is not None
        if ready is not None:
            ready(self, error)

    def _deliver(self) -> None:
        """Give the user what can be decrypted now."""
        sslobj, incoming = self.ssl_object, self._incoming
        while not self._paused and not self._closing and self._user is not None:
            if not incoming.pending and not sslobj.pending():
                return
            try:
                data = sslobj.read(_READ)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                self._end()
                return
            except ssl.SSLError as error:
                self._fail(error)
                return
            if not data:
                self._end()
                return
            self._user.data_received(data)
        if self._outgoing.pending and not self._closing:
            self._raw.write(self._outgoing.read())

    def _end(self) -> None:
        """The peer's close_notify came."""
        if self._got_eof:
            return
        self._got_eof = True
        if self._user is not None and not self._user.eof_received():
            self.close()

    def _fail(self, error: Exception) -> None:
        user, self._user = self._user, None
        self.abort()
        if user is not None:
            user.connection_lost(error)
