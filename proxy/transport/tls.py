"""TLS over a plain transport, by OpenSSL through memory buffers.

Why not the event loop's own TLS: it cannot half-close (TLS 1.3's close_notify ends one direction only,
RFC 8446 §6.1), and it holds a quarter of a megabyte of buffers for each connection. Received bytes go
through one buffer shared by all connections, because it is emptied before the next read begins.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, cast

TRUST_REVISION = "trust_revision"
"""What a stream is asked for which bundle of anchors it began under; see Stream.get_extra_info."""
_RECORD = 16 * 1024
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
        self.trust_revision: int | None = None
        """The revision of the trust bundle that the handshake went by, if that is known."""
        self._ready: Callable[[Tls, Exception | None], None] | None = ready
        self._user: asyncio.Protocol | None = None
        self._raw: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._paused = False
        self._closing = False
        self._sent_eof = False
        self._got_eof = False
        self._broken: ssl.SSLError | None = None
        """What is wrong with what came, after what was right."""
        self._told_eof = False
        """The user knows of the peer's end."""

    # From the socket.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected: shake hands."""
        self._raw = cast(asyncio.Transport, transport)
        if self._closing:
            self._raw.abort()
        else:
            self._shake_hands()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return _view

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came from the socket."""
        parts: list[bytes] = []
        for at in range(0, nbytes, _RECORD):
            # In portions, because OpenSSL's buffers keep the size that they once had.
            self._incoming.write(_view[at : min(at + _RECORD, nbytes)])
            if self._ready is not None:
                self._shake_hands()
            if self._ready is None:
                self._decrypt(parts)
        if self._ready is None:
            self._hand_on(parts)

    def eof_received(self) -> bool:
        """The socket ended; without close_notify that is a truncation."""
        if self._ready is not None:
            return False
        self._deliver()
        if not self._got_eof and not self._closing and not self._paused:
            self._fail(ConnectionResetError("ended without close_notify"))
        # One that ended only its half sent close_notify alone: with the socket's end it is gone altogether,
        # and what we still have to say goes as far as it goes.
        return not self._closing and not self._got_eof

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
        self._told_eof = False

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        if self._closing or self._sent_eof or not data:
            return
        try:
            if len(data) <= _RECORD:
                self.ssl_object.write(data)
                self._flush()
                return
            # A record at a time, for the same reason as in buffer_updated.
            view, records = memoryview(data), []
            for at in range(0, len(data), _RECORD):
                self.ssl_object.write(view[at : at + _RECORD])
                records.append(self._outgoing.read())
        except ssl.SSLError as error:
            self._fail(error)
            return
        assert self._raw is not None
        self._raw.writelines(records)

    def write_eof(self) -> None:
        """Send close_notify; reading goes on."""
        if self._sent_eof or self._closing:
            return
        self._sent_eof = True
        # Once it has written ours, OpenSSL looks for the peer's close_notify, and finds fault with data
        # before that: those wait until it has looked.
        waiting = self._incoming.read()
        with contextlib.suppress(ssl.SSLError):
            self.ssl_object.unwrap()
        self._incoming.write(waiting)
        self._flush()

    def close(self) -> None:
        """Send what is buffered and close_notify, then close."""
        if self._closing:
            return
        if self._ready is None:
            self.write_eof()
        self._closing = True
        if self._raw is not None:
            self._raw.close()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        if self._raw is not None:
            self._raw.abort()

    def lose(self, error: Exception) -> None:
        """Close at once, and tell the user that it was lost."""
        if not self._closing:
            self._fail(error)

    def is_closing(self) -> bool:
        """Whether it is over, or will be."""
        return self._closing

    def pause_reading(self) -> None:
        """Take no more from the socket."""
        self._paused = True
        if not self._closing and self._raw is not None:
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Take from the socket again, after what OpenSSL still holds."""
        if self._paused and not self._closing:
            self._paused = False
            if self._raw is not None:
                self._raw.resume_reading()
            self._loop.call_soon(self._deliver)

    def get_extra_info(self, name: str) -> Any:
        """What the socket's transport says; TRUST_REVISION: under which bundle it began."""
        if name == TRUST_REVISION:
            return self.trust_revision
        return self._raw.get_extra_info(name) if self._raw is not None else None

    def get_write_buffer_size(self) -> int:
        """Bytes not yet given to the socket."""
        return self._raw.get_write_buffer_size() if self._raw is not None else 0

    # Between them.

    def _shake_hands(self) -> None:
        try:
            self.ssl_object.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except (ssl.SSLError, ssl.CertificateError) as error:
            # The alert that OpenSSL wrote tells the peer why.
            self._flush()
            self._finish_handshake(error)
            if self._raw is not None:
                self._raw.close()
        else:
            self._flush()
            self._finish_handshake(None)

    def _flush(self) -> None:
        if self._outgoing.pending and self._raw is not None:
            self._raw.write(self._outgoing.read())

    def _finish_handshake(self, error: Exception | None) -> None:
        ready, self._ready = self._ready, None
        self._closing = self._closing or error is not None
        if ready is not None:
            ready(self, error)

    def _deliver(self) -> None:
        """Give the user what can be decrypted now."""
        parts: list[bytes] = []
        self._decrypt(parts)
        self._hand_on(parts)

    def _decrypt(self, parts: list[bytes]) -> None:
        """Add to `parts` what can be decrypted now, if the user may have it."""
        sslobj, incoming = self.ssl_object, self._incoming
        while not (self._paused or self._closing or self._got_eof or self._user is None):
            if not incoming.pending and not sslobj.pending():
                return
            try:
                data = sslobj.read(_RECORD)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as error:
                # The first alone says what is wrong: of later portions OpenSSL says no more than that.
                self._broken = self._broken or error
                return
            if not data:
                self._got_eof = True
                return
            parts.append(data)

    def _hand_on(self, parts: list[bytes]) -> None:
        """All parts at once, because each costs a system call further on; then how it ended, if it did."""
        if parts and self._user is not None:
            self._user.data_received(parts[0] if len(parts) == 1 else b"".join(parts))
        if self._closing:
            return
        if self._broken is not None:
            self._fail(self._broken)
        elif self._got_eof:
            self._end()
        else:
            # An answer to a change of keys, perhaps.
            self._flush()

    def _end(self) -> None:
        """The peer's close_notify came."""
        if self._user is not None and not self._paused and not self._told_eof:
            self._told_eof = True
            if not self._user.eof_received():
                self.close()

    def _fail(self, error: Exception) -> None:
        user, self._user = self._user, None
        self.abort()
        if user is not None:
            # Later, as every transport does it: the user may be in the middle of writing.
            self._loop.call_soon(user.connection_lost, error)
