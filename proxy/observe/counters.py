"""What the proxy counts: one series for each direction, peer and protocol.

A series is found once, by whoever has the peer in hand, and then incremented in place: counting a
request is a few additions.
"""

from bisect import bisect_left

from common.contract.telemetry import BUCKETS_MS, Direction, Peer, Report, Series
from common.errors import MeshError

SERIES_LIMIT = 1024
"""Series at most, so that a report fits into a message; more are counted together, under a peer without
a name."""
IDLE_SECONDS = 600.0
"""A series that nothing was added to for so long is told once more and then forgotten."""
CLIENT_GONE = 499
_NO_STATUS = 0

Protocol = str
Key = tuple[Direction, Peer, Protocol, str]


class Counter:
    """One series, growing."""

    __slots__ = (
        "bytes_read",
        "bytes_written",
        "errors",
        "failures",
        "forgotten",
        "grpc_statuses",
        "key",
        "latency",
        "latency_sum_ms",
        "open_connections",
        "requests",
        "statuses",
        "touched",
    )

    def __init__(self, key: Key) -> None:
        self.key = key
        self.requests = 0
        self.failures = 0
        self.statuses: dict[int, int] = {}
        self.grpc_statuses: dict[int, int] = {}
        self.errors: dict[str, int] = {}
        self.latency = [0] * (len(BUCKETS_MS) + 1)
        self.latency_sum_ms = 0.0
        self.open_connections = 0
        self.bytes_read = 0
        self.bytes_written = 0
        self.touched = 0.0
        """Monotonic seconds when something was last added."""
        self.forgotten = False
        """It is no longer told to anybody: who held on to it must find its successor."""

    def request(
        self,
        status: int,
        error: Exception | None,
        seconds: float,
        now: float,
        failed: bool,
        grpc: int = -1,
    ) -> None:
        """A request was answered with `status`, by the mesh itself if there is an `error`, after `seconds`.

        `status` 0 is none. `grpc` is the status of a gRPC call, -1 if it is none or the status is not known.
        """
        self.touched = now
        self.requests += 1
        self.failures += failed
        if status:
            statuses = self.statuses
            statuses[status] = statuses.get(status, 0) + 1
        if grpc >= 0:
            statuses = self.grpc_statuses
            statuses[grpc] = statuses.get(grpc, 0) + 1
        if error is not None:
            reason = error.reason if isinstance(error, MeshError) else "reset"
            self.errors[reason] = self.errors.get(reason, 0) + 1
        milliseconds = seconds * 1000
        self.latency[bisect_left(BUCKETS_MS, milliseconds)] += 1
        self.latency_sum_ms += milliseconds

    def opened(self, now: float) -> None:
        """A connection was opened."""
        self.touched = now
        self.open_connections += 1

    def closed(self, error: Exception | None, seconds: float, now: float) -> None:
        """A connection ended after `seconds`; an error is a failure."""
        self.open_connections -= 1
        self.request(_NO_STATUS, error, seconds, now, error is not None)

    def snapshot(self) -> Series:
        """The series as it stands."""
        direction, peer, protocol, no_tls_reason = self.key
        return Series(
            direction=direction,
            peer=peer,
            protocol=protocol,  # type: ignore[arg-type]
            no_tls_reason=no_tls_reason,
            requests=self.requests,
            failures=self.failures,
            statuses={str(status): count for status, count in self.statuses.items()},
            grpc_statuses={str(status): count for status, count in self.grpc_statuses.items()},
            errors=dict(self.errors),
            latency=tuple(self.latency),
            latency_sum_ms=round(self.latency_sum_ms, 3),
            open_connections=self.open_connections,
            bytes_read=self.bytes_read,
            bytes_written=self.bytes_written,
        )


class Counters:
    """All series of this proxy."""

    def __init__(self) -> None:
        self._series: dict[Key, Counter] = {}
        self.refused_connections = 0
        """Connections closed on arrival because there were too many."""
        self.unanswered_lookups = 0
        """Lookups that discovery did not answer in time."""
        self.rejected_requests: dict[tuple[Direction, str], int] = {}
        """What was not HTTP, by direction and the rule that it broke."""
        self.faults = 0
        """Connections and requests that were dropped by a fault of the proxy's own."""
        self.rejected_transports = 0
        """Inbound connections whose handshake or transport header was refused."""

    def series(
        self, direction: Direction, peer: Peer, protocol: Protocol, no_tls_reason: str
    ) -> Counter:
        """The counter for this key, made if need be."""
        key = (direction, peer, protocol, no_tls_reason)
        counter = self._series.get(key)
        if counter is None:
            if len(self._series) >= SERIES_LIMIT:
                key = (direction, Peer(), protocol, no_tls_reason)
                counter = self._series.get(key)
            if counter is None:
                counter = self._series[key] = Counter(key)
        return counter

    def rejected(self, direction: Direction, word: str) -> None:
        """A client sent what is not HTTP; `word` names the rule that it broke."""
        key = (direction, word)
        self.rejected_requests[key] = self.rejected_requests.get(key, 0) + 1

    def fault(self) -> None:
        """A task for one connection broke."""
        self.faults += 1

    def lookup_unanswered(self) -> None:
        """Discovery did not answer in time; the connection was passed through."""
        self.unanswered_lookups += 1

    def all(self) -> list[Series]:
        """Every series as it stands."""
        return [counter.snapshot() for counter in self._series.values()]

    def forget_idle(self, now: float) -> list[Key]:
        """Drop what nothing was added to for IDLE_SECONDS; returns the keys that are gone."""
        for counter in self._series.values():
            # Made for a request that is still on its way: its time begins now.
            counter.touched = counter.touched or now
        gone = [
            key
            for key, counter in self._series.items()
            if not counter.open_connections and counter.touched + IDLE_SECONDS < now
        ]
        for key in gone:
            self._series.pop(key).forgotten = True
        return gone


def report(
    counters: Counters,
    *,
    namespace: str,
    workload: str,
    owner: str,
    identity: str,
    started: float,
    now: float,
    final: bool = False,
) -> Report:
    """What goes on the bus: all series since `started` (seconds since the epoch)."""
    return Report(
        namespace=namespace,
        workload=workload,
        owner=owner,
        identity=identity,
        started=started,
        time=now,
        series=tuple(counters.all()),
        final=final,
    )
