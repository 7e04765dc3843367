"""What is other in Kubernetes, in one place: where the mesh directory comes from, and who is let in.

From a directory: it is there, on a disk that all replicas share; NATS reads it too; newcomers show join tokens.
In Kubernetes: it is filled from a Secret and kept like it; NATS reads another Secret; newcomers are pods, and
show the token of their service account. Join tokens are known there if the mesh has a key for them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import anyio

from common.clock import Clock
from common.kube.access import access
from common.kube.client import Client
from services.identity.attest import Attest, Attestor
from services.identity.certifier import Present
from services.identity.cluster.delivery import InPods
from services.identity.cluster.mirror import Mirror
from services.identity.cluster.pods import Living, Pods
from services.identity.cluster.reviews import Reviews
from services.identity.directory import MeshDirectory
from services.identity.live import Live
from services.identity.parts import Parts
from services.identity.presence import Presence
from services.identity.server_files import Delivery, InFiles
from services.identity.settings import Settings
from services.identity.spent import Ledger
from services.identity.stock import Gone
from services.identity.store import InPlace, Store
from services.identity.tokens import JoinTokens
from services.identity.verdicts import Judge, Verdicts


@dataclass(frozen=True)
class Door:
    """Who is let in, and who may have a certificate."""

    judge: Judge
    present: Present | None = None
    """Whether somebody who asks for a certificate is still there; None if nobody can know."""
    gone: Gone | None = None
    """Whether a workload is known to be no more; None likewise."""


class Source(Protocol):
    """Where the mesh directory comes from, and what goes with that."""

    @property
    def mesh(self) -> MeshDirectory:
        """What is in force."""
        ...

    @property
    def store(self) -> Store:
        """How it is changed."""
        ...

    async def fill(self) -> None:
        """Wait until the mesh directory is there; raises InvalidSettings."""
        ...

    async def run(self) -> None:
        """Keep it current, for ever."""
        ...

    def delivery(self, presence: Presence) -> Delivery:
        """How NATS gets what it reads."""
        ...

    def door(self, proof: Attestor, ledger: Ledger, trust_domain: str) -> Door:
        """Who is let in besides those with a proof; raises InvalidSettings."""
        ...


@asynccontextmanager
async def opened(settings: Settings, clock: Clock) -> AsyncIterator[Source]:
    """The source that the settings name; raises InvalidSettings."""
    if settings.source == "directory":
        yield _Directory(settings, clock)
        return
    async with Client(access(settings.kubeconfig), agent="tulle-identity") as client:
        yield _Kubernetes(settings, client, clock)


class _Directory:
    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.mesh = MeshDirectory(Path(settings.dir))
        self.store: Store = InPlace(self.mesh)
        self._clock = clock
        self._parts = Parts(self.mesh, Path(settings.parts_dir) if settings.parts_dir else None)

    async def fill(self) -> None:
        """It is there, or it is none."""

    async def run(self) -> None:
        await anyio.sleep_forever()

    def delivery(self, presence: Presence) -> Delivery:
        return InFiles(self.mesh, presence, self._clock, self._parts)

    def door(self, proof: Attestor, ledger: Ledger, trust_domain: str) -> Door:
        join = _join_tokens(self.mesh, trust_domain, ledger)
        return Door(Verdicts(Attest(proof=proof, join=join)))


class _Kubernetes:
    def __init__(self, settings: Settings, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._reload_seconds = settings.nats_reload_seconds
        self._mirror = Mirror(client, settings.namespace, Path(settings.dir), clock)
        self.mesh = self._mirror.mesh
        self.store: Store = self._mirror

    async def fill(self) -> None:
        await self._mirror.fill()

    async def run(self) -> None:
        await self._mirror.run()

    def delivery(self, presence: Presence) -> Delivery:
        return InPods(self._mirror, presence, self._clock, self._reload_seconds)

    def door(self, proof: Attestor, ledger: Ledger, trust_domain: str) -> Door:
        joins = self.mesh.tokens_file.exists()
        join = _join_tokens(self.mesh, trust_domain, ledger) if joins else None
        accounts = Reviews(self._client, trust_domain)
        pods = Pods(self._client, self._clock, others=joins)
        attest = Verdicts(Attest(proof=proof, join=join, accounts=accounts))
        return Door(Living(attest, pods), pods.check, pods.is_gone)


def _join_tokens(mesh: MeshDirectory, trust_domain: str, ledger: Ledger) -> JoinTokens:
    return JoinTokens(Live([mesh.tokens_file], mesh.token_keys), trust_domain, ledger)
