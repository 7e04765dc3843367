"""`python -m services.identity`: admits to the bus, signs certificates, publishes whom to trust."""

import socket
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec

from common import config, log
from common.admin import TEXT, Admin, Answer, ready
from common.bus import Bus, Endpoint
from common.clock import SystemClock
from common.contract import subjects
from common.errors import InvalidCertificate, InvalidSettings
from common.lease import Lease
from common.lifecycle import Stop, process_name, run
from common.trusting import Trusting
from common.version import VERSION
from services.identity import nkey, streams
from services.identity.admission import CONCURRENCY, Admission
from services.identity.certifier import Certifier
from services.identity.directory import BusSettings, MeshDirectory
from services.identity.holders import Holders, roles_by_key
from services.identity.inputs import Reloader
from services.identity.journal import Journal
from services.identity.key_rotation import KeyRotator
from services.identity.key_steps import KeySteps
from services.identity.keyring import Keyring
from services.identity.leader import Leader
from services.identity.leaves import Leaves
from services.identity.people import People
from services.identity.permissions import CALLOUT
from services.identity.presence import Presence
from services.identity.proofs import Proofs
from services.identity.roster import Roster
from services.identity.rotation import Rotator
from services.identity.server_files import ServerFiles
from services.identity.settings import Settings
from services.identity.source import Source, opened
from services.identity.spent import Spent
from services.identity.steps import Steps
from services.identity.system import System
from services.identity.turnout import Turnout

NAME = "identity"
_COUNTER = "tulle_identity_events_total"
_ENDS = "tulle_identity_expiration_timestamp_seconds"
_REFUSED = "tulle_identity_files_refused"
"""1 while what lies in the mesh directory is not what is in force, because it cannot be used."""


async def main(stop: Stop) -> None:
    """Serve until `stop`; raises InvalidSettings if the mesh directory is not one."""
    settings = config.load(Settings)
    log.setup(settings.log_level, settings.log_format)
    told: dict[str, Callable[[], Answer]] = {}
    waiting = {"/ready": ready(lambda: False), "/metrics": lambda: (200, TEXT, b"")}
    # It is seen to live while it waits for its mesh.
    routes = {path: lambda path=path: told.get(path, waiting[path])() for path in waiting}
    async with Admin(settings.admin_listen, routes), opened(settings, SystemClock()) as source:
        if await _filled(source, stop):
            await _serve(settings, source, told, stop)


async def _filled(source: Source, stop: Stop) -> bool:
    """Wait until there is a mesh directory; False if the program is to end before."""
    async with anyio.create_task_group() as group:

        async def end() -> None:
            await stop.wait()
            group.cancel_scope.cancel()

        group.start_soon(end)
        await source.fill()
        group.cancel_scope.cancel()
    return not stop.requested


async def _serve(
    settings: Settings, source: Source, told: dict[str, Callable[[], Answer]], stop: Stop
) -> None:
    clock = SystemClock()
    mesh = source.mesh
    where = _where(settings, mesh)
    reloader = Reloader(mesh, where.trust_domain, settings.leaf_seconds, clock)
    trusting = _trusting(settings, mesh)
    bus = _bus(settings, mesh, where, trusting)
    system_bus = _bus(settings, mesh, where, trusting, system=True)
    system = System(system_bus)
    spent = Spent(bus, clock)
    door = source.door(
        Proofs(lambda: reloader.current.value.for_proofs(clock.now()), where.trust_domain),
        spent,
        where.trust_domain,
    )
    journal = Journal(bus, clock)
    told["/ready"] = ready(lambda: bus.connected.value)
    told["/metrics"] = lambda: _metrics(journal.counts, reloader)
    async with bus, system_bus, anyio.create_task_group() as group:
        group.start_soon(spent.run)
        group.start_soon(streams.keep, bus, clock)
        people = People(mesh.people_file)
        admission = Admission(door.judge, people, Keyring(mesh), journal, clock)
        await bus.answer(CALLOUT, admission, queue=NAME, concurrency=CONCURRENCY)
        certifier = Certifier(
            lambda: reloader.current.value.authority,
            where.trust_domain,
            journal,
            clock,
            present=door.present,
        )
        roster = Roster(clock)
        await bus.listen(subjects.ack_any(), roster.hear)
        await bus.listen(subjects.lifecycle_any(), roster.enter)
        leaves = Leaves(
            lambda: reloader.current.value.authority.issuer,
            lambda: reloader.current.value.anchors,
            roster,
            clock,
        )
        endpoints: list[Endpoint[Any, Any]] = [
            Endpoint(subjects.certify_any(), certifier),
            Endpoint(subjects.leaves(), leaves),
        ]
        await bus.serve(NAME, VERSION, endpoints, queue=NAME)
        lease = Lease(bus, NAME, socket.gethostname(), ttl=settings.lease_seconds)
        presence = Presence(system, partial(roles_by_key, mesh))
        store, lock = source.store, anyio.Lock()
        servers = ServerFiles(store, source.delivery(presence), presence, journal, clock)
        rotator = Rotator(
            bus,
            store=store,
            reloader=reloader,
            steps=Steps(store.draft, where.trust_domain, settings.leaf_seconds, clock),
            roster=roster,
            presence=presence,
            servers=servers,
            journal=journal,
            clock=clock,
            lock=lock,
            gone=door.gone,
        )
        key_rotator = KeyRotator(
            bus,
            store=store,
            steps=KeySteps(store.draft, clock),
            holders=Holders(system, mesh, clock),
            servers=servers,
            journal=journal,
            clock=clock,
            lock=lock,
        )
        leader = Leader(bus, lease, (rotator.lead, key_rotator.lead), clock)
        group.start_soon(source.run)
        group.start_soon(reloader.run, journal)
        group.start_soon(leader.run)
        group.start_soon(trusting.run, bus, NAME, process_name())
        group.start_soon(Turnout(people, system, journal, clock).run)
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


def _trusting(settings: Settings, mesh: MeshDirectory) -> Trusting:
    """Whom we trust to be the bus; raises InvalidSettings."""
    path = Path(settings.trust_anchors_file or mesh.anchors_file)

    def read() -> str:
        if settings.trust_anchors_file:
            return mesh.read(path).decode("ascii", "replace")
        return mesh.anchors_pem()

    trusting = Trusting(read)
    try:
        trusting.context()
    except InvalidCertificate as error:
        raise InvalidSettings(f"{path}: {error}") from None
    return trusting


def _bus(
    settings: Settings,
    mesh: MeshDirectory,
    where: BusSettings,
    trusting: Trusting,
    *,
    system: bool = False,
) -> Bus:
    """The bus as the mesh's identity service; with `system`, in the system account of NATS."""
    own = Path(settings.nkey_file or mesh.seed_file("identity"))
    path = mesh.seed_file("system") if system else own
    mesh.seed(path, nkey.USER)
    return Bus(
        where.servers,
        name="system" if system else NAME,
        tls=trusting.context,
        nkey_seed=lambda: mesh.seed(path, nkey.USER).seed,
        inbox_prefix=subjects.role_inbox(NAME),
    )


def _metrics(counts: Mapping[str, int], reloader: Reloader) -> Answer:
    inputs = reloader.current.value
    ends = {
        "anchor": min(anchor.not_valid_after_utc for anchor in inputs.anchors),
        "issuer": inputs.authority.issuer.certificate.not_valid_after_utc,
    }
    lines = [f"# TYPE {_COUNTER} counter"]
    lines += [f'{_COUNTER}{{what="{what}"}} {count}' for what, count in sorted(counts.items())]
    lines += [f"# TYPE {_ENDS} gauge"]
    lines += [f'{_ENDS}{{role="{role}"}} {when.timestamp():.0f}' for role, when in ends.items()]
    lines += [f"# TYPE {_REFUSED} gauge", f"{_REFUSED} {int(not reloader.good)}"]
    return 200, TEXT, ("\n".join(lines) + "\n").encode()


if __name__ == "__main__":
    run(main)
