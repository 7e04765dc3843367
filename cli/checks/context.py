"""What a check may look at: the mesh directory, and the bus, which is connected to when it is first wanted."""

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from cli import leaves
from cli.mesh import operator_bus
from common.bus import Bus
from common.clock import Clock, SystemClock
from services.identity.directory import MeshDirectory


class Context:
    """For as long as the context lasts; trouble on the bus is told by the checks that meet it."""

    def __init__(self, mesh: MeshDirectory, clock: Clock | None = None) -> None:
        self.mesh = mesh
        self.clock = clock or SystemClock()
        self._stack = AsyncExitStack()
        self._bus: Bus | None = None
        self._leaves: leaves.Leaves | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def bus(self) -> Bus:
        """The bus as operator. Raises BusUnavailable, InvalidSettings."""
        if self._bus is None:
            self._bus = await self._stack.enter_async_context(
                operator_bus(self.mesh, on_trouble=_silent)
            )
        return self._bus

    async def leaves(self) -> leaves.Leaves:
        """What identity knows, asked for once. Raises BusUnavailable, Refused, InvalidMessage."""
        if self._leaves is None:
            self._leaves = await leaves.fetch(await self.bus())
        return self._leaves


def _silent(_text: str) -> None:
    """What goes wrong on the bus is the finding of whichever check meets it."""
