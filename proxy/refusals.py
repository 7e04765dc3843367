"""Every no that the proxy says to a request, with the statuses that say it in HTTP and in gRPC."""

from typing import ClassVar

from common.errors import MeshError


class Refusal(MeshError):
    """The proxy answers a request itself; `http` and `grpc` are the statuses that it answers with."""

    reason = "refused-by-proxy"
    http: ClassVar[int] = 500
    grpc: ClassVar[int] = 13


class NoEndpoints(Refusal):
    """The service exists, but nothing was ready to answer for it in time."""

    reason = "no-endpoints"
    http, grpc = 504, 4


class TooSlow(Refusal):
    """The endpoint took longer than it may."""

    reason = "timeout"
    http, grpc = 504, 4


class ConnectFailed(Refusal):
    """No connection to the endpoint."""

    reason = "connect-failed"
    http, grpc = 502, 14


class TlsFailed(Refusal):
    """The peer is not who it should be, or does not believe that we are."""

    reason = "tls-failed"
    http, grpc = 502, 14


class ResponseLost(Refusal):
    """The endpoint closed or reset the connection before its response was complete."""

    reason = "response-lost"
    http, grpc = 502, 14


class ResponseReset(ResponseLost):
    """The endpoint reset the stream of its response; `code` says why (RFC 9113 §7)."""

    reason = "response-reset"

    def __init__(self, code: int) -> None:
        super().__init__(f"reset with code {code}")
        self.code = code


class NotProcessed(ResponseLost):
    """The endpoint says that it has not looked at the request: any request may be sent again."""

    reason = "not-processed"


class BadResponse(Refusal):
    """The endpoint's answer is not HTTP."""

    reason = "bad-response"
    http, grpc = 502, 14


class Unauthorized(Refusal):
    """The policy of the target does not allow this client."""

    reason = "unauthorized"
    http, grpc = 403, 7


class NoIdentity(Refusal):
    """This proxy holds no valid certificate, and the endpoint is spoken to with one or not at all."""

    reason = "no-identity"
    http, grpc = 502, 14


class NoRoute(Refusal):
    """Nothing is known under that name."""

    reason = "no-route"
    http, grpc = 404, 5


class Loop(Refusal):
    """The request would come back to where it is."""

    reason = "loop"
    http, grpc = 508, 10


class Overloaded(Refusal):
    """More is waiting already than may wait."""

    reason = "overloaded"
    http, grpc = 503, 14


class ShutDown(Refusal):
    """The proxy ends, and the time that there was for finishing is over."""

    reason = "shut-down"
    http, grpc = 503, 14


class ClientGone(Refusal):
    """The client left before its answer was complete; nobody hears this one."""

    reason = "client-gone"
    http, grpc = 499, 1


def code_of(error: MeshError) -> int:
    """The HTTP/2 error code with which a response that has begun is broken off (RFC 9113 §7)."""
    if isinstance(error, ResponseReset):
        return error.code
    return 8 if isinstance(error, TooSlow | ClientGone) else 2
