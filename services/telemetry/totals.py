"""What was counted for each edge since this process began; it only grows, as Prometheus expects.

The ledger forgets proxies; these sums do not. Bare addresses are left out of the labels, so that a
mesh that talks to the whole Internet has one line for it and not millions.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec

from common.contract.telemetry import BUCKETS_MS, Direction, Peer, Series
from services.telemetry.account import Account, Key

MOST = 4_000
"""Label sets at most; what would need another is counted in `overflow`."""


class Labels(msgspec.Struct, frozen=True, order=True):
    """Which sum. Outbound: counted at the source. Inbound: at the target, for clients of `client_id`."""

    direction: Direction
    namespace: str
    deployment: str
    """The owner, or the workload where nothing owns it, of the proxy that counted."""
    dst_namespace: str
    dst_deployment: str
    dst_service: str
    protocol: str
    tls: str
    """`true` for mutual TLS, else `no_identity`, with the word in `no_tls_reason`."""
    no_tls_reason: str
    client_id: str
    server_id: str


class Total:
    """The sum of all series with the same labels."""

    __slots__ = ("errors", "latency", "latency_sum_ms", "numbers", "statuses")

    def __init__(self) -> None:
        self.numbers: Counter[str] = Counter()
        """requests, failures, bytes_read and bytes_written by name."""
        self.statuses: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.latency = [0] * (len(BUCKETS_MS) + 1)
        self.latency_sum_ms = 0.0

    def grow(self, before: Series | None, after: Series) -> None:
        """Add what a series grew by; `before` is None where it counts from zero."""
        for name in ("requests", "failures", "bytes_read", "bytes_written"):
            self.numbers[name] += getattr(after, name) - (getattr(before, name) if before else 0)
        _add(self.statuses, before.statuses if before else {}, after.statuses)
        _add(self.errors, before.errors if before else {}, after.errors)
        for bucket, count in enumerate(after.latency):
            self.latency[bucket] += count
        for bucket, count in enumerate(before.latency if before else ()):
            self.latency[bucket] -= count
        self.latency_sum_ms += max(
            0.0, after.latency_sum_ms - (before.latency_sum_ms if before else 0.0)
        )


class Totals:
    """All sums by their labels."""

    def __init__(self, most: int = MOST) -> None:
        self.overflow = 0
        """Growths of series left out because there were too many label sets."""
        self._most = most
        self._totals: dict[Labels, Total] = {}

    def __len__(self) -> int:
        return len(self._totals)

    def __iter__(self) -> Iterator[tuple[Labels, Total]]:
        return iter(sorted(self._totals.items(), key=lambda item: item[0]))

    def grow(self, account: Account, key: Key, before: Series | None, after: Series) -> None:
        """Take in the growth of a series; this is what a ledger calls."""
        labels = labels_of(account, key)
        total = self._totals.get(labels)
        if total is None:
            if len(self._totals) >= self._most:
                self.overflow += 1
                return
            total = self._totals[labels] = Total()
        total.grow(before, after)


def labels_of(account: Account, key: Key) -> Labels:
    """The labels under which a series is summed up."""
    peer, outbound = key.peer, key.direction == "outbound"
    secured = bool(peer.identity) and not key.no_tls_reason
    theirs, ours = (peer.identity, account.identity) if secured else ("", "")
    target = peer if outbound else Peer()
    return Labels(
        direction=key.direction,
        namespace=account.namespace,
        deployment=account.name,
        dst_namespace=target.namespace or target.service.partition(".")[2],
        dst_deployment=target.owner or target.workload,
        dst_service=target.service.partition(".")[0],
        protocol=key.protocol,
        tls="true" if secured else "no_identity",
        no_tls_reason="" if secured else key.no_tls_reason,
        client_id=ours if outbound else theirs,
        server_id=theirs if outbound else ours,
    )


_CODES = 100
"""Different status codes or errors of one sum at most."""


def _add(sums: Counter[str], before: Mapping[str, int], after: Mapping[str, int]) -> None:
    for name, count in after.items():
        if name in sums or len(sums) < _CODES:
            sums[name] += max(0, count - before.get(name, 0))
