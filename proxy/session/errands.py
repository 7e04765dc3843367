"""Tasks for single connections and requests: what goes wrong in one of them stays there.

Expected errors are Refusals and are handled where they arise. Whatever else comes out of such a task is a
fault of ours: it is logged and counted, and everybody else is served as before.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from anyio.abc import TaskGroup

log = logging.getLogger(__name__)


class Errands:
    """Starts tasks in a group that they cannot end; `failed()` is called for each that broke."""

    def __init__(self, group: TaskGroup, failed: Callable[[], None]) -> None:
        self._group = group
        self._failed = failed

    def start_soon(self, func: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Run `func(*args)` soon."""
        self._group.start_soon(self._run, func, args)

    async def _run(self, func: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        try:
            await func(*args)
        except Exception:
            self._failed()
            log.exception("a connection was dropped by a fault of the proxy's own")


Spawner = TaskGroup | Errands
"""What starts tasks."""
