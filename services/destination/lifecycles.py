"""What proxies say of their workloads: heard as it is said, and read back after every time not connected.

Every replica hears everything, so that a standby that takes over knows who is draining.
"""

import logging
from collections.abc import Callable

from common.bus import Bus
from common.bus.replay import replay
from common.contract import subjects
from common.contract.events import Learned, Lifecycle
from common.errors import InvalidName
from common.log import fields
from common.names import WorkloadName
from services.destination.resources import Change, Heard, Spoke

log = logging.getLogger(__name__)

READY = frozenset({"ready"})
LEAVING = frozenset({"draining", "stopped"})


def heard(subject: str, message: Lifecycle) -> Heard | None:
    """What a message says; None if it speaks of another workload than its subject.

    The bus lets a proxy publish under its own name only, so the subject is what can be believed.
    Raises InvalidName.
    """
    workload = WorkloadName(message.namespace, message.workload)
    if subjects.lifecycle(workload, message.phase).subject != subject:
        return None
    return Heard(
        workload=workload,
        uid=message.uid,
        time=message.time,
        leaving=message.phase in LEAVING,
    )


def spoke(subject: str, message: Learned) -> Spoke | None:
    """What a proxy says to have learned; None if it speaks of another workload. Raises InvalidName."""
    workload = WorkloadName(message.namespace, message.workload)
    if subjects.learned(workload).subject != subject or not 0 < message.port < 65536:
        return None
    return Spoke(workload=workload, uid=message.uid, port=message.port)


class Lifecycles:
    """Hears every workload's lifecycle and lessons; `on_changes` is called with what was said."""

    def __init__(self, bus: Bus, on_changes: Callable[[list[Change]], None]) -> None:
        self._bus = bus
        self._on_changes = on_changes

    async def start(self) -> None:
        """Hear from now on."""
        await self._bus.listen(subjects.lifecycle_any(), self._hear)
        await self._bus.listen(subjects.learned_any(), self._learn)

    async def read_back(self) -> None:
        """Hear again what is retained; raises BusUnavailable."""
        stream = subjects.LIFECYCLES
        for subject, message in await replay(self._bus, stream, subjects.lifecycle_any()):
            self._hear(subject, message)
        for subject, lesson in await replay(self._bus, stream, subjects.learned_any()):
            self._learn(subject, lesson)

    def _hear(self, subject: str, message: Lifecycle) -> None:
        # One that has only started says nothing about whether it can be spoken to.
        if message.phase in READY | LEAVING:
            self._take(subject, lambda: heard(subject, message))

    def _learn(self, subject: str, message: Learned) -> None:
        self._take(subject, lambda: spoke(subject, message))

    def _take(self, subject: str, read: Callable[[], Heard | Spoke | None]) -> None:
        try:
            word = read()
        except InvalidName as error:
            word, reason = None, str(error)
        else:
            reason = "it speaks of another workload"
        if word is None:
            log.warning("word not believed", extra=fields(subject=subject, reason=reason))
        else:
            self._on_changes([word])
