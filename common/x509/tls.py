"""TLS contexts, and who is at the other end."""

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from common.errors import InvalidCertificate
from common.names import Identity
from common.x509.certificates import holder, load_der

ALPN = "tulle/1"
"""What proxies speak to one another inside TLS."""


def peer_identity(tls: ssl.SSLObject | ssl.SSLSocket) -> Identity | None:
    """Who is at the other end of a finished handshake; None if it showed no workload's leaf."""
    der = tls.getpeercert(True)
    return _identity_of(der) if der else None


@lru_cache(maxsize=1024)
def _identity_of(der: bytes) -> Identity | None:
    try:
        return holder(load_der(der))[0]
    except InvalidCertificate:
        return None


def server_context(held_pem: bytes, anchors_pem: str) -> ssl.SSLContext:
    """What a proxy accepts other proxies with; `held_pem` is key and chain, leaf first.

    The client must show a certificate that leads to an anchor; who it is, `peer_identity` says.
    Raises InvalidCertificate.
    """
    context = _mutual(ssl.PROTOCOL_TLS_SERVER, held_pem, anchors_pem)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0  # no resumption: a renewed leaf or bundle applies to the next handshake
    return context


def client_context(held_pem: bytes, anchors_pem: str) -> ssl.SSLContext:
    """What a proxy connects to other proxies with: give `server_hostname=identity.dns_name`.

    The handshake then fails unless the server is that identity. Raises InvalidCertificate.
    """
    return _mutual(ssl.PROTOCOL_TLS_CLIENT, held_pem, anchors_pem)


def bus_context(anchors_pem: str) -> ssl.SSLContext:
    """What everybody connects to NATS with: its name is checked, ours is shown in the handshake's token.

    Raises InvalidCertificate.
    """
    return _trusting(ssl.PROTOCOL_TLS_CLIENT, anchors_pem)


def show(context: ssl.SSLContext, held_pem: bytes) -> None:
    """Have a server's context show this key and chain from the next handshake on.

    Raises InvalidCertificate; then the context shows what it did before.
    """
    with _as_file(held_pem) as path:
        # A pair that does not fit leaves a context with half of it.
        for taker in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
            try:
                taker.load_cert_chain(path)
            except (ssl.SSLError, ValueError) as error:
                raise InvalidCertificate(f"key and chain: {_plain(error)}") from None


def _mutual(role: int, held_pem: bytes, anchors_pem: str) -> ssl.SSLContext:
    context = _trusting(role, anchors_pem)
    context.set_alpn_protocols([ALPN])
    try:
        with _as_file(held_pem) as path:
            context.load_cert_chain(path)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidCertificate(f"key and chain: {_plain(error)}") from None
    return context


def _trusting(role: int, anchors_pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(role)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.options |= ssl.OP_NO_TICKET
    # The names that count are in the alternative names; the subject is for people.
    context.hostname_checks_common_name = False
    try:
        context.load_verify_locations(cadata=anchors_pem)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidCertificate(f"trust anchors: {_plain(error)}") from None
    return context


def _plain(error: Exception) -> str:
    return (error.reason if isinstance(error, ssl.SSLError) else "") or str(error)


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """OpenSSL takes keys from files only: one that never reaches a disk, where the system has such."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("held", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, data)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile() as file:  # made with mode 0600
            file.write(data)
            file.flush()
            yield file.name
