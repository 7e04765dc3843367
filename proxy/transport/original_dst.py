"""Where an intercepted connection was going before netfilter brought it here."""

import socket
import struct

_SO_ORIGINAL_DST = 80
"""From linux/netfilter_ipv4.h; IP6T_SO_ORIGINAL_DST has the same number."""

Address = tuple[str, int]


def original_dst(connection: socket.socket) -> Address | None:
    """IP address and port that the client connected to; None if the connection was not redirected.

    A connection that netfilter tracks but did not redirect has its own local address as original
    destination; that counts as not redirected.
    """
    found = _ask_ipv4(connection) or _ask_ipv6(connection)
    return None if found == local_address(connection) else found


def _ask_ipv4(connection: socket.socket) -> Address | None:
    """Works for IPv4 connections on a dual-stack socket, too."""
    try:
        raw = connection.getsockopt(socket.IPPROTO_IP, _SO_ORIGINAL_DST, 16)
    except OSError:
        return None
    port, address = struct.unpack_from(">2xH4s", raw)
    return socket.inet_ntop(socket.AF_INET, address), port


def _ask_ipv6(connection: socket.socket) -> Address | None:
    if connection.family != socket.AF_INET6:
        return None
    try:
        raw = connection.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, 28)
    except OSError:
        return None
    port, address = struct.unpack_from(">2xH4x16s", raw)
    return socket.inet_ntop(socket.AF_INET6, address), port


def local_address(connection: socket.socket) -> Address:
    """The IP address and port at our end; an IPv4 address in IPv6 form is given as IPv4."""
    address, port = connection.getsockname()[:2]
    return str(address).removeprefix("::ffff:"), int(port)


def peer_address(connection: socket.socket) -> Address:
    """The IP address and port at the other end; an IPv4 address in IPv6 form is given as IPv4."""
    address, port = connection.getpeername()[:2]
    return str(address).removeprefix("::ffff:"), int(port)
