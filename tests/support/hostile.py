"""Clients that try what they may not, and what the server says to them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from nats.aio.client import Client

from common.bus.guarded import Guarded
from common.contract import subjects
from common.names import WorkloadName
from services.identity import credentials, nkey
from services.identity.directory import MeshDirectory
from services.identity.permissions import PersonRole, Role
from tests.support.identity import Mesh, cluster, nats

WEB = WorkloadName("shop", "web-1")
HARMLESS = {"Nats-Expected-Last-Subject-Sequence": "9999999"}
"""With it no stream stores what is published."""


class Intruder:
    """Somebody with a connection, and what the server refused them."""

    def __init__(self, name: str, client: Client, errors: list[str]) -> None:
        self.name = name
        self.client = client
        self._errors = errors

    async def refused(self) -> list[str]:
        """What was refused since the last time."""
        assert isinstance(self.client, Guarded)
        await self.client.settle(10)
        found, self._errors[:] = list(self._errors), []
        return found

    async def may_publish(self, subject: str, payload: bytes = b"x") -> bool:
        """Whether the server takes it; nothing comes of it."""
        await self.client.publish(subject, payload, headers=HARMLESS)
        return self._allowed(await self.refused(), "publish", subject)

    async def may_subscribe(self, subject: str, group: str = "") -> bool:
        """Whether the server lets them hear it, as a member of a group if one is named."""
        subscription = await self.client.subscribe(subject, group)
        allowed = self._allowed(await self.refused(), "subscription", subject)
        if allowed:
            await subscription.unsubscribe()
        return allowed

    def _allowed(self, refused: list[str], what: str, subject: str) -> bool:
        for error in refused:
            assert f"permissions violation for {what}" in error.lower(), error
            assert subject.lower() in error.lower(), error
        return not refused


@asynccontextmanager
async def attacked(
    work: Path, *, clustered: bool = False, **identity: object
) -> AsyncIterator[Mesh]:
    """A mesh with its identity service."""
    async with cluster(work) if clustered else nats(work) as mesh, mesh.identity(**identity):
        yield mesh


async def workload(
    mesh: Mesh, name: WorkloadName = WEB, account: str = "web", *, node: int = 0
) -> Intruder:
    """The proxy of a workload, taken over."""
    errors: list[str] = []
    client = await mesh.client(
        token=mesh.token(name, account), inbox=subjects.inbox(name), errors=errors, node=node
    )
    return Intruder("workload", client, errors)


async def role(mesh: Mesh, role: Role, *, node: int = 0) -> Intruder:
    """A service, taken over, or whoever stole the operator's key."""
    errors: list[str] = []
    seed = mesh.directory.user(role).seed
    inbox = subjects.role_inbox(role)
    client = await mesh.client(seed=seed, inbox=inbox, errors=errors, node=node)
    return Intruder(role, client, errors)


async def system(mesh: Mesh) -> Intruder:
    """Whoever stole identity's key to the system account."""
    errors: list[str] = []
    seed = mesh.directory.user("system").seed
    client = await mesh.client(seed=seed, inbox=subjects.role_inbox("identity"), errors=errors)
    return Intruder("system", client, errors)


async def person(mesh: Mesh, name: str, role: PersonRole, *, node: int = 0) -> Intruder:
    """A person with a folder of their own."""
    folder = mesh.work / name
    if not folder.exists():
        credentials.add(mesh.directory, name, role, folder)
    given = MeshDirectory(folder)
    seed = given.seed(given.seed_file("person"), nkey.USER).seed
    errors: list[str] = []
    client = await mesh.client(
        seed=seed, inbox=subjects.person_inbox(name), errors=errors, node=node
    )
    return Intruder(role, client, errors)
