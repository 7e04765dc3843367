"""What a check may look at: the mesh directory, the cluster, the bus; each opened when it is first wanted."""

from collections.abc import Collection
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self, TypeVar

from cli import leaves, running
from cli.cluster import Cluster
from cli.kube import Kube
from cli.mesh import entered
from cli.ways import Entry, Way, entry
from common.bus import Bus
from common.clock import Clock, SystemClock
from common.errors import KubernetesRefused
from common.kube.client import NOT_FOUND
from services.identity.directory import MeshDirectory

T = TypeVar("T")


class Context:
    """For as long as the context lasts; trouble on the bus is told by the checks that meet it."""

    def __init__(
        self, mesh: Way | MeshDirectory, clock: Clock | None = None, namespace: str = ""
    ) -> None:
        self.way = mesh if isinstance(mesh, Way) else Way(mesh)
        self.clock = clock or SystemClock()
        self.namespace = namespace
        """The only one to look at; empty: all."""
        self._stack = AsyncExitStack()
        self._kube: Kube | None = None
        self._entry: Entry | None = None
        self._bus: Bus | None = None
        self._acks: running.Acks | None = None
        self._leaves: leaves.Leaves | None = None
        self._services: list[running.Service] | None = None
        self._lists: dict[str, list[object]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def forget(self) -> None:
        """What is asked next is asked anew."""
        self._leaves = self._services = None
        self._lists.clear()

    @property
    def mesh(self) -> MeshDirectory:
        """The mesh directory, for the checks of one."""
        if self.way.directory is None:
            raise ValueError("a check of a directory without one")
        return self.way.directory

    @property
    def cluster(self) -> Cluster:
        """The cluster, for the checks of one."""
        if self.way.cluster is None:
            raise ValueError("a check of a cluster without one")
        return self.way.cluster

    async def kube(self) -> Kube:
        """The cluster's API. Raises InvalidSettings."""
        if self._kube is None:
            self._kube = Kube(await self._stack.enter_async_context(self.cluster.client()))
        return self._kube

    async def all(self, path: str, model: type[T]) -> list[T]:
        """All objects of a kind, asked for once. Raises KubernetesUnavailable, KubernetesRefused."""
        key = f"{path} {model}"
        if key not in self._lists:
            self._lists[key] = list(await (await self.kube()).all(path, model))
        return self._lists[key]  # type: ignore[return-value]

    async def there(self, path: str, model: type[T], what: str) -> T:
        """An object that must be there. Raises KubernetesUnavailable, KubernetesRefused."""
        found = await (await self.kube()).get(path, model)
        if found is None:
            raise KubernetesRefused(f"there is no {what}", NOT_FOUND)
        return found

    async def entry(self) -> Entry:
        """The way to the bus. Raises InvalidSettings, KubernetesUnavailable, KubernetesRefused."""
        if self._entry is None:
            self._entry = await self._stack.enter_async_context(entry(self.way))
        return self._entry

    async def bus(self) -> Bus:
        """The bus as operator. Raises BusUnavailable, and what `entry` raises."""
        if self._bus is None:
            self._bus = await self._stack.enter_async_context(entered(await self.entry(), _silent))
        return self._bus

    async def leaves(self) -> leaves.Leaves:
        """What identity knows, asked for once. Raises BusUnavailable, Refused, InvalidMessage."""
        if self._leaves is None:
            self._leaves = await leaves.fetch(await self.bus())
        return self._leaves

    async def services(self) -> list[running.Service]:
        """Which services answer, asked for once. Raises BusUnavailable."""
        if self._services is None:
            self._services = await running.services(await self.bus())
        return self._services

    async def acks(self, wanted: Collection[str]) -> running.Acks:
        """What workloads acknowledge, once those that are wanted have. Raises BusUnavailable."""
        if self._acks is None:
            self._acks = running.Acks(self.clock)
            await self._acks.listen(await self.bus())
        await self._acks.wait(wanted)
        return self._acks


def _silent(_text: str) -> None:
    """What goes wrong on the bus is the finding of whichever check meets it."""
