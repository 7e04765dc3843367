"""nats-py's client with some things put right that it does not let its callers say."""

import asyncio
import re
import ssl
from contextlib import suppress

import anyio
from nats.aio.client import PONG_PROTO, Client
from nats.errors import Error, SecureConnRequiredError

from common import nats_version

_NAME = re.compile(r"[!-~]+")
"""What the name of a header is made of."""
_SPACE = " \t\n\r\x0b\x0c"


class Guarded(Client):
    """A NATS client for one connection.

    It says nothing to a server that does without TLS where that is demanded: NATS begins in the clear and
    the server says whether TLS follows. nats-py believes it, so whoever can answer in the server's
    place could ask for our token in the clear. Nor does it to a server that is too old for us.

    It is connected when the server says so. A server that takes more than two seconds to admit us asks first
    whether we are still there; nats-py takes that for the answer, and then never sends a word.

    It reads headers in less than half the time: nats-py looks at each character of each name, which was a good
    part of what a heard document costs.

    `ended` is set whenever the connection ends: with unsent data nats-py fails, or waits for ever, while
    it closes, and then calls nobody back. `abort` does what it has left undone.
    """

    def __init__(self, demands_tls: bool) -> None:
        super().__init__()
        self.ended = anyio.Event()
        self._demands_tls = demands_tls
        self._secured = False

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """What nats-py takes when it begins a TLS handshake, and only then."""
        self._secured = True
        return super().ssl_context

    @property
    def clustered(self) -> bool:
        """Whether the server is one of several that know each other."""
        return bool(self._server_info.get("cluster"))

    async def settle(self, timeout: int) -> None:
        """Wait until the server has read all that was said before."""
        # nats-py writes a PING at once, before what is pending: only the second comes behind that.
        await self.rtt(timeout)
        await self.rtt(timeout)

    def abort(self) -> None:
        """Close the socket and end the subscriptions now, whatever is unsent or unread."""
        for subscription in self._subs.values():
            subscription._stop_processing()
        self._subs.clear()
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        """The headers of a message; a line that is none is left out, of two with one name the last counts."""
        lines = (line.partition(":") for line in raw.decode("utf-8", "replace").split("\r\n"))
        return {
            name: value.strip(_SPACE)
            for before, colon, value in lines
            if colon and _NAME.fullmatch(name := before.strip(_SPACE))
        }

    def _connect_command(self) -> bytes:
        if self._demands_tls and not self._secured:
            raise SecureConnRequiredError
        nats_version.check(str(self._server_info.get("version", "")))
        if self._secured:
            self._end_without_a_warning()
        return super()._connect_command()

    async def _process_connect_init(self) -> None:
        await super()._process_connect_init()
        if self._status == Client.CONNECTING:
            # Nothing has been awaited since: the tasks that read and write have not begun.
            self._status = Client.CONNECTED
            await self._wait_until_admitted()

    async def _wait_until_admitted(self) -> None:
        """Answer whatever the server said first, and wait for the PONG; raises nats.errors.Error."""
        admitted = asyncio.get_running_loop().create_future()
        self._pongs.append(admitted)
        assert self._transport is not None
        self._transport.write(PONG_PROTO)
        ended = asyncio.ensure_future(self.ended.wait())
        try:
            await asyncio.wait((admitted, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
        if not admitted.done():
            raise self._err or Error("nats: closed by the server")

    def _end_without_a_warning(self) -> None:
        """Tell nats-py's half-closable stream that it is TLS now, which cannot be.

        asyncio tells it only of connections that began so, and else warns of it at the end of each.
        """
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.get_protocol()._over_ssl = True

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        self.ended.set()
        # uvloop says RuntimeError of a socket that is closed already.
        with suppress(OSError, RuntimeError):
            await super()._close(status, do_cbs)
