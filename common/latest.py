"""A cell of immutable values that one task sets and many read.

Law: a reader may skip values but never sees an older one after a newer one.
"""

from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

import anyio

T = TypeVar("T")


class Latest(Generic[T]):
    """The current value, and a way to be told when it is replaced. Replace values, never mutate them."""

    def __init__(self, value: T) -> None:
        self._value = value
        self._version = 0
        self._changed = anyio.Event()
        self._watchers: list[Callable[[T], None]] = []

    @property
    def value(self) -> T:
        """The current value."""
        return self._value

    def set(self, value: T) -> None:
        """Replace the value; nothing happens if it equals the current one."""
        if value == self._value:
            return
        self._value = value
        self._version += 1
        self._changed.set()
        self._changed = anyio.Event()
        for watcher in list(self._watchers):
            watcher(value)

    def on_change(self, watcher: Callable[[T], None]) -> Callable[[], None]:
        """Call `watcher` at once with every later value; returns what ends it."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    async def changes(self) -> AsyncIterator[T]:
        """The current value, then each later one; those replaced meanwhile are skipped."""
        seen = -1
        while True:
            if seen == self._version:
                await self._changed.wait()
            seen = self._version
            yield self._value

    async def wait_for(self, wanted: Callable[[T], bool]) -> T:
        """Wait until the value is as `wanted`, and return it."""
        while not wanted(self._value):
            await self._changed.wait()
        return self._value
