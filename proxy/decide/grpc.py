"""gRPC over HTTP/2: how a call ended, whose fault that was, and how long it may take."""

from proxy.codec.heads import NOT_READ, Headers, RequestHead, Trailers

OK = 0
UNKNOWN = 2
SERVER_FAULTS = frozenset((2, 4, 12, 13, 14, 15))
"""UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS."""
ENDPOINT_FAULTS = frozenset((4, 7, 13, 14, 15))
"""What speaks against one endpoint: DEADLINE_EXCEEDED, PERMISSION_DENIED, INTERNAL, UNAVAILABLE, DATA_LOSS."""
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


def status_in(fields: Headers) -> int:
    """The `grpc-status` of a trailer section; UNKNOWN if there is none that can be read. Remembered there."""
    if not isinstance(fields, Trailers):
        return _status_in(fields)
    if fields.grpc_status is None:
        fields.grpc_status = _status_in(fields)
    return fields.grpc_status


def _status_in(fields: Headers) -> int:
    for name, value in fields:
        if name == b"grpc-status":
            return int(value) if value.isdigit() and len(value) < 4 else UNKNOWN
    return UNKNOWN


def timeout_of(request: RequestHead) -> float | None:
    """The seconds that a call may take (`grpc-timeout`); None if it may take for ever. Remembered there."""
    if request.timeout == NOT_READ:
        value = request.get(b"grpc-timeout")
        request.timeout = None if value is None else read_timeout(value)
    return request.timeout


def read_timeout(value: bytes) -> float | None:
    """Seconds of `1*8DIGIT unit`; None if it is malformed, which is as good as absent."""
    digits, unit = value[:-1], _UNITS.get(value[-1:])
    if unit is None or not digits.isdigit() or len(digits) > 8:
        return None
    return int(digits) * unit
