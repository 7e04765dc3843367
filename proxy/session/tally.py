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
    error, status = exchange.error, exchange.status
    if isinstance(error, ClientGone) or not status:
        status = ClientGone.http
    seconds = now - exchange.started_at
    if exchange.request.protocol == "grpc" and exchange.grpc_status >= 0:
        grpc = exchange.grpc_status
        counter.request(status, error, seconds, now, failed=grpc in SERVER_FAULTS, grpc=grpc)
    else:
        counter.request(status, error, seconds, now, failed=status >= 500)
