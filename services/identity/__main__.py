"""`python -m services.identity`: admits to the bus, signs certificates, publishes whom to trust."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import msgspec

from common import config, log
from common.admin import TEXT, Admin, Answer, ready
from common.bus import Bus, Endpoint
from common.clock import SystemClock
from common.contract import subjects
from common.contract.identity import TrustBundle
from common.errors import InvalidCertificate, InvalidSettings
from common.lease import Lease
from common.lifecycle import Stop, run
from common.x509 import bus_context, chain_pem
from services.identity import nkey
from services.identity.admission import CONCURRENCY, Admission
from services.identity.attest import Attest
from services.identity.authority import Authority
from services.identity.bundle import Bundle
from services.identity.certifier import Certifier
from services.identity.directory import BusSettings, MeshDirectory
from services.identity.journal import Journal
from services.identity.leaves import Leaves
from services.identity.permissions import CALLOUT
from services.identity.proofs import Proofs
from services.identity.settings import Settings
from services.identity.spent import Spent
from services.identity.tokens import JoinTokens
from services.identity.verdicts import Verdicts

NAME = "identity"
VERSION = "0.1.0"
_COUNTER = "tulle_identity_events_total"


async def main(stop: Stop) -> None:
    """Serve until `stop`; raises InvalidSettings if the mesh directory is not one."""
    settings = config.load(Settings)
    log.setup(settings.log_level, settings.log_format)
    clock = SystemClock()
    mesh = MeshDirectory(Path(settings.dir))
    where = _where(settings, mesh)
    anchors, account = mesh.anchors(), mesh.account()
    authority = Authority(mesh.issuer(), settings.leaf_seconds)
    try:
        authority.prove(anchors, where.trust_domain, clock.now())
    except InvalidCertificate as error:
        raise InvalidSettings(f"{mesh.issuer_file}: {error}") from None
    bus = _bus(settings, mesh, where)
    spent = Spent(bus, clock)
    attest = Attest(
        join=JoinTokens(mesh.token_keys(), where.trust_domain, spent),
        proof=Proofs(lambda: anchors, where.trust_domain),
    )
    trust = TrustBundle(
        trust_domain=where.trust_domain,
        anchors=tuple(chain_pem([anchor]).decode() for anchor in anchors),
    )
    journal = Journal(bus, clock)
    routes = {
        "/ready": ready(lambda: bus.connected.value),
        "/metrics": lambda: _metrics(journal.counts),
    }
    async with Admin(settings.admin_listen, routes), bus, anyio.create_task_group() as group:
        group.start_soon(spent.prepare)
        admission = Admission(Verdicts(attest), account, journal, clock)
        await bus.answer(CALLOUT, admission, queue=NAME, concurrency=CONCURRENCY)
        certifier = Certifier(lambda: authority, where.trust_domain, journal, clock)
        leaves = Leaves(lambda: authority.issuer, lambda: anchors, clock)
        await bus.listen(subjects.ack_any(), leaves.hear)
        endpoints: list[Endpoint[Any, Any]] = [
            Endpoint(subjects.certify_any(), certifier),
            Endpoint(subjects.leaves(), leaves),
        ]
        await bus.serve(NAME, VERSION, endpoints, queue=NAME)
        lease = Lease(bus, NAME, socket.gethostname())
        group.start_soon(Bundle(bus, lease, lambda: trust, journal, clock).run)
        await stop.wait()
        group.cancel_scope.cancel()


def _where(settings: Settings, mesh: MeshDirectory) -> BusSettings:
    """Where the bus is: as the mesh directory says, unless the settings say otherwise."""
    known = mesh.bus()
    if settings.trust_domain and settings.trust_domain != known.trust_domain:
        raise InvalidSettings(
            f"TULLE_TRUST_DOMAIN={settings.trust_domain!r}: {mesh.bus_file} was made for"
            f" {known.trust_domain!r}"
        )
    return msgspec.structs.replace(known, servers=settings.bus or known.servers)


def _bus(settings: Settings, mesh: MeshDirectory, where: BusSettings) -> Bus:
    anchors_file = Path(settings.trust_anchors_file or mesh.anchors_file)
    user = mesh.seed(Path(settings.nkey_file or mesh.seed_file("identity")), nkey.USER)
    anchors = mesh.read(anchors_file).decode("ascii", "replace")
    try:
        bus_context(anchors)
    except InvalidCertificate as error:
        raise InvalidSettings(f"{anchors_file}: {error}") from None
    return Bus(
        where.servers,
        name=NAME,
        tls=lambda: bus_context(anchors),
        nkey_seed=user.seed,
        inbox_prefix=subjects.role_inbox(NAME),
    )


def _metrics(counts: Mapping[str, int]) -> Answer:
    lines = [f"# TYPE {_COUNTER} counter"]
    lines += [f'{_COUNTER}{{what="{what}"}} {count}' for what, count in sorted(counts.items())]
    return 200, TEXT, ("\n".join(lines) + "\n").encode()


if __name__ == "__main__":
    run(main)
