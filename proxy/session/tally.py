"""How an exchange that has ended is counted."""

from proxy.decide.grpc import SERVER_FAULTS
from proxy.observe.counters import Counter
from proxy.refusals import ClientGone
from proxy.session.exchange import Exchange


def tally(counter: Counter, exchange: Exchange, now: float) -> None:
    """Count an exchange that ended at `now` (loop time, seconds).

    A client that left is counted as 499. A gRPC call counts by its own status, and a failure is what
    was the server's fault.
    """
    error, status, grpc = exchange.error, exchange.status, exchange.grpc_status
    if not status or (error is not None and isinstance(error, ClientGone)):
        status = ClientGone.http
    failed = grpc in SERVER_FAULTS if grpc >= 0 else status >= 500
    counter.request(status, error, now - exchange.started_at, now, failed, grpc)
