"""What became of pods: counted, told on the bus, and as an Event on what makes the pod.

Kubernetes is not kept waiting for it: what is to be told waits in a short line, and what does not fit
in there is counted and left out.
"""

import logging
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import anyio
import msgspec

from common.bus import Bus
from common.clock import Clock
from common.contract import subjects
from common.contract.events import Event
from common.errors import KubernetesRefused, KubernetesUnavailable
from common.kube.client import Client
from common.log import fields
from services.injector.decide import QUIET
from services.injector.inject import Injection
from services.injector.review import Owner

log = logging.getLogger(__name__)

_WAITING = 1000
Labels = tuple[str, str, str, str, str]
"""Kind of owner, namespace, whose annotation decided, whether it was skipped, and why."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One pod and what became of it."""

    namespace: str
    pod: str
    owner: Owner | None
    result: Injection
    dry_run: bool = False


class Journal:
    """Hears from the webhook, tells everybody else."""

    def __init__(self, bus: Bus, client: Client, clock: Clock) -> None:
        self.requests = 0
        self.responses: Counter[Labels] = Counter()
        self.left_out = 0
        self._bus = bus
        self._client = client
        self._clock = clock
        self._send, self._receive = anyio.create_memory_object_stream[Told](_WAITING)

    def note(self, told: Told) -> None:
        """Count it, and tell it if anybody wants to hear of it."""
        verdict = told.result.verdict
        kind = told.owner.kind.lower() if told.owner else "pod"
        skip = "true" if verdict.skip else "false"
        labels = (kind, told.namespace, verdict.annotation_at, skip, verdict.skip or "")
        self.responses[labels] += 1
        if verdict.skip in QUIET or verdict.ours or told.dry_run:
            return
        try:
            self._send.send_nowait(told)
        except (anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
            self.left_out += 1

    async def run(self) -> None:
        """Tell for ever."""
        try:
            async for told in self._receive:
                await self._on_the_bus(told)
                await self._to_the_owner(told)
        finally:
            self.close()

    def close(self) -> None:
        """Tell nothing more."""
        self._send.close()
        self._receive.close()

    async def _on_the_bus(self, told: Told) -> None:
        verdict = told.result.verdict
        what, message = ("skipped", _why(told)) if verdict.skip else ("injected", "proxy injected")
        details = {"namespace": told.namespace, "pod": told.pod}
        if told.owner:
            details["owner"] = f"{told.owner.kind.lower()}/{told.owner.name}"
        if verdict.skip:
            details["reason"] = verdict.skip
        if told.result.warnings:
            details["warnings"] = "; ".join(told.result.warnings)
        log.info(message, extra=fields(**details))
        event = Event(
            component="injector",
            what=what,
            message=message,
            time=self._clock.now(),
            fields=details,
        )
        await self._bus.publish(subjects.event("injector", what), event)

    async def _to_the_owner(self, told: Told) -> None:
        if told.owner is None:
            return
        path = f"/api/v1/namespaces/{told.namespace}/events"
        try:
            await self._client.ask("POST", path, body=_event(told, told.owner, self._clock.now()))
        except (KubernetesRefused, KubernetesUnavailable) as error:
            log.warning("event not written", extra=fields(namespace=told.namespace, error=error))


def _why(told: Told) -> str:
    return f"proxy injection skipped: {told.result.verdict.skip}"


def _event(told: Told, owner: Owner, now: float) -> dict[str, Any]:
    skipped = told.result.verdict.skip
    time = datetime.fromtimestamp(int(now), UTC).isoformat().replace("+00:00", "Z")
    notes = "".join(f"; {text}" for text in told.result.warnings)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": "tulle-injector-", "namespace": told.namespace},
        "involvedObject": owner,
        "type": "Warning" if skipped or notes else "Normal",
        "reason": "InjectionSkipped" if skipped else "Injected",
        "message": (("Tulle " + (_why(told) if skipped else "proxy injected")) + notes)[:1000],
        "source": {"component": "tulle-injector"},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
