"""gRPC's statuses: how a call ended, and whether that was the server's fault (gRPC over HTTP/2)."""

from proxy.codec.heads import Headers

OK = 0
UNKNOWN = 2
SERVER_FAULTS = frozenset((2, 4, 12, 13, 14, 15))
"""UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS."""


def status_in(fields: Headers) -> int:
    """The `grpc-status` of a trailer section; UNKNOWN if there is none that can be read."""
    for name, value in fields:
        if name == b"grpc-status":
            return int(value) if value.isdigit() and len(value) < 4 else UNKNOWN
    return UNKNOWN
