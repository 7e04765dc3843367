"""How a refusal is told to a client: an empty body or an early end, and the reason in `tulle-error`."""

from common.errors import MeshError
from proxy.codec.heads import BadMessage, Headers, RequestHead, ResponseHead
from proxy.refusals import Refusal

ERROR_HEADER = b"tulle-error"


def answer(request: RequestHead | None, error: MeshError) -> ResponseHead:
    """The response that tells a client of `error`; trailers-only for a gRPC request (gRPC over HTTP/2)."""
    if isinstance(error, BadMessage):
        http, grpc, word = error.status, 13, error.word
    elif isinstance(error, Refusal):
        http, grpc, word = error.http, error.grpc, error.reason
    else:
        http, grpc, word = 500, 13, error.reason
    told = word.encode()
    if request is not None and (request.get(b"content-type") or b"").startswith(
        b"application/grpc"
    ):
        return ResponseHead(
            200,
            [
                (b"content-type", b"application/grpc"),
                (b"content-length", b"0"),
                (b"grpc-status", b"%d" % grpc),
                (b"grpc-message", told),
                (ERROR_HEADER, told),
            ],
        )
    return ResponseHead(http, [(b"content-length", b"0"), (ERROR_HEADER, told)], phrase=b"")


def late_answer(error: Refusal) -> Headers:
    """The trailers that tell a gRPC client of `error` when its response has begun (gRPC over HTTP/2)."""
    told = error.reason.encode()
    return [(b"grpc-status", b"%d" % error.grpc), (b"grpc-message", told), (ERROR_HEADER, told)]
