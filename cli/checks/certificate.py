"""The certificate that each NATS server shows, as a client meets it."""

import ssl
from urllib.parse import urlsplit

import anyio
from anyio.streams.tls import TLSAttribute, TLSStream
from cryptography import x509

from cli.checks.context import Context
from cli.checks.frame import Doubtful, Wrong, named
from cli.checks.lives import in_time, span
from cli.durations import about
from common.x509 import bus_context

_SECONDS = 5.0
_OVERDUE = 0.8


async def look(context: Context) -> str:
    """Each server's certificate: it is below an anchor, names the server, and has been renewed in time."""
    way = await context.entry()
    tls = bus_context(way.anchors())
    told, trouble = [], []
    for server in way.servers:
        try:
            certificate = await shown(server, tls)
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError, TimeoutError) as error:
            trouble.append(f"{server}: {error or type(error).__name__}")
        else:
            told.append(_told(certificate, context.clock.now()))
    if trouble and not told:
        raise Wrong(named(trouble))
    if trouble:
        raise Doubtful(named(trouble))
    return told[0]


def _told(certificate: x509.Certificate, now: float) -> str:
    begins, ends = span(certificate)
    # It is renewed when 70 % of its life are over, however long that is.
    if begins + _OVERDUE * (ends - begins) < now < ends:
        raise Doubtful(f"it ends in {about(ends - now)}, and should have been renewed")
    return in_time("NATS's certificate", begins, ends, now)


async def shown(server: str, tls: ssl.SSLContext) -> x509.Certificate:
    """What the server at `tls://HOST:PORT` shows after its INFO. Raises OSError (ssl.SSLError too)."""
    parts = urlsplit(server)
    host = parts.hostname or ""
    with anyio.fail_after(_SECONDS):
        async with await anyio.connect_tcp(host, parts.port or 4222) as plain:
            info = b""
            while not info.endswith(b"\n"):
                info += await plain.receive()
            stream = await TLSStream.wrap(
                plain, server_side=False, hostname=host, ssl_context=tls, standard_compatible=False
            )
            der = stream.extra(TLSAttribute.peer_certificate_binary)
    if der is None:
        raise OSError(f"{server}: showed no certificate")
    return x509.load_der_x509_certificate(der)
