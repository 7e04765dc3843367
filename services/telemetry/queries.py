"""The answers to `tulle stat` and `tulle edges`, read from the ledger.

Deployments, pods and namespaces are told by what their own proxies counted inbound; services by what
their clients counted outbound; edges by what their source counted outbound, and where the source is
not meshed, by what the target counted inbound.
"""

from collections.abc import Iterator

import msgspec

from common.contract.telemetry import (
    EdgeRow,
    EdgesReply,
    EdgesRequest,
    Filter,
    Peer,
    StatReply,
    StatRequest,
    StatRow,
)
from services.telemetry.account import Account, Key
from services.telemetry.counts import Counts
from services.telemetry.ledger import Ledger
from services.telemetry.windows import Movement, Sum, Window, movements, reporting

Name = tuple[str, str]
"""Namespace and name."""


def stat(ledger: Ledger, request: StatRequest, at: float) -> StatReply:
    """How workloads or services did in the window that ends `at`.

    Requests, success and latency are those of requests proper; a TCP series adds its connections and
    bytes. `meshed` counts proxies that reported in the window and did not say goodbye: those still
    heard of, of all; for a service it is `-`, because its clients reported, not itself.
    """
    window = Window(at, request.window)
    rows = _services if request.kind == "svc" else _workloads
    return StatReply(
        rows=tuple(rows(ledger, request, window)),
        window=request.window,
        covered=ledger.covered(request.window, at),
    )


def edges(ledger: Ledger, request: EdgesRequest, at: float) -> EdgesReply:
    """Who talked to whom in the window that ends `at`; an edge matches if either end does."""
    window = Window(at, request.window)
    owners = _owners(ledger)
    found: dict[EdgeKey, Sum] = {}
    for account in reporting(ledger, window):
        for movement in movements(account, window):
            edge = edge_of(account, movement.key, owners)
            if edge and movement.any and _touches(edge, account, movement.key, request.of):
                sum_ = found.setdefault(edge, Sum())
                sum_.hear(account, window)
                sum_.add(movement)
    return EdgesReply(
        rows=tuple(_row(edge, found[edge]) for edge in sorted(found)),
        window=request.window,
        covered=ledger.covered(request.window, at),
    )


class EdgeKey(msgspec.Struct, frozen=True, order=True):
    """What makes an edge itself; identities are there only where the handshake proved them."""

    source_namespace: str
    source: str
    target_namespace: str
    target: str
    protocol: str
    no_tls_reason: str = ""
    source_identity: str = ""
    target_identity: str = ""
    outbound: bool = True
    """Counted at the source; else at the target, because the source is not meshed."""

    @property
    def mtls(self) -> bool:
        """Whether both ends proved who they are."""
        return bool(self.source_identity and self.target_identity)


def edge_of(account: Account, key: Key, owners: dict[str, Name]) -> EdgeKey | None:
    """The edge that a series belongs to; None if the other end tells of it.

    The target's name is that of its owner, else the service asked for, else the workload's or the bare
    address. `owners` knows the owner of an identity where the client did not.
    """
    peer = key.peer
    proven = peer.identity if not key.no_tls_reason else ""
    own = (account.namespace, account.name)
    if key.direction == "outbound":
        source, target = own, _target(peer, owners.get(proven) if proven else None)
        ours, theirs = account.identity, proven
    elif not peer.identity:
        source = (peer.namespace, peer.owner or peer.workload or peer.address or "unknown")
        target, ours, theirs = own, "", ""
    else:
        return None
    secured = bool(ours and theirs)
    return EdgeKey(
        source_namespace=source[0],
        source=source[1],
        target_namespace=target[0],
        target=target[1],
        protocol=key.protocol,
        no_tls_reason="" if secured else key.no_tls_reason or "no-identity",
        source_identity=ours if secured else "",
        target_identity=theirs if secured else "",
        outbound=key.direction == "outbound",
    )


def _target(peer: Peer, owner: Name | None) -> Name:
    if peer.owner:
        return peer.namespace, peer.owner
    if owner:
        return owner
    if peer.service:
        name, _, namespace = peer.service.partition(".")
        return namespace, name
    return peer.namespace, peer.workload or peer.address or "unknown"


def _owners(ledger: Ledger) -> dict[str, Name]:
    """Owners by identity, where all who report an identity have the same one."""
    owners: dict[str, Name | None] = {}
    for account in ledger:
        name = (account.namespace, account.name)
        if account.identity and owners.setdefault(account.identity, name) != name:
            owners[account.identity] = None
    return {identity: name for identity, name in owners.items() if name}


def _row(edge: EdgeKey, sum_: Sum) -> EdgeRow:
    return EdgeRow(
        source=edge.source,
        source_namespace=edge.source_namespace,
        target=edge.target,
        target_namespace=edge.target_namespace,
        source_identity=edge.source_identity,
        target_identity=edge.target_identity,
        mtls=edge.mtls,
        no_tls_reason=edge.no_tls_reason,
        protocol=edge.protocol,
        figures=sum_.figures(),
    )


def _touches(edge: EdgeKey, account: Account, key: Key, of: Filter) -> bool:
    own = {account.workload, account.name}
    other = {key.peer.owner, key.peer.workload, key.peer.service.partition(".")[0]}
    sources, targets = (own, other) if edge.outbound else (other, own)
    return _matches(of, edge.source_namespace, {edge.source, *sources}) or _matches(
        of, edge.target_namespace, {edge.target, *targets}
    )


def _matches(of: Filter, namespace: str, names: set[str]) -> bool:
    return of.namespace in ("", namespace) and (not of.name or of.name in names)


def _workloads(ledger: Ledger, request: StatRequest, window: Window) -> Iterator[StatRow]:
    """Rows by deployment, pod or namespace; those without traffic are there too."""
    found: dict[Name, tuple[Sum, list[Account]]] = {}
    for account in reporting(ledger, window):
        name = _name(account, request.kind)
        names = {name} if request.kind == "ns" else {account.workload, account.name}
        if not _matches(request.of, account.namespace, names):
            continue
        sum_, accounts = found.setdefault((account.namespace, name), (Sum(), []))
        accounts.append(account)
        sum_.hear(account, window)
        for movement in movements(account, window):
            if movement.key.direction == "inbound":
                sum_.add(_requests_only(movement))
    for (namespace, name), (sum_, accounts) in sorted(found.items(), key=lambda item: item[0]):
        expected = [account for account in accounts if not account.gone]
        ready = sum(account.live(window.at) for account in expected)
        meshed = f"{ready}/{len(expected)}"
        yield StatRow(namespace=namespace, name=name, meshed=meshed, figures=sum_.figures())


def _name(account: Account, kind: str) -> str:
    return {"deploy": account.name, "pod": account.workload, "ns": account.namespace}[kind]


def _services(ledger: Ledger, request: StatRequest, window: Window) -> Iterator[StatRow]:
    """Rows by service, as their meshed clients saw them; without traffic there is no row."""
    found: dict[Name, Sum] = {}
    for account in reporting(ledger, window):
        for movement in movements(account, window):
            name, _, namespace = movement.key.peer.service.partition(".")
            wanted = name and movement.any and movement.key.direction == "outbound"
            if wanted and _matches(request.of, namespace, {name}):
                sum_ = found.setdefault((namespace, name), Sum())
                sum_.hear(account, window)
                sum_.add(_requests_only(movement))
    for (namespace, name), sum_ in sorted(found.items(), key=lambda item: item[0]):
        yield StatRow(namespace=namespace, name=name, meshed="-", figures=sum_.figures())


def _requests_only(movement: Movement) -> Movement:
    """A TCP series counts connections, which are no requests: keep its bytes and what is open."""
    if movement.key.protocol != "tcp":
        return movement
    counts = movement.counts
    bytes_only = Counts(bytes_read=counts.bytes_read, bytes_written=counts.bytes_written)
    return Movement(movement.account, movement.key, bytes_only, movement.open)
