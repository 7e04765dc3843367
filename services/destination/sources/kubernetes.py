"""A cluster, followed over its API.

An object with a mistake in an annotation is taken as if that were absent; one with a mistake elsewhere, which
the API should not have let in, is taken for absent itself. Both are told, once for each mistake. While the
API is away, nothing is taken away.
"""

import logging
from typing import Any

import anyio
import msgspec

from common.clock import Clock
from common.kube.client import Client
from common.kube.objects import Gone, Kind, Seen, Unreadable
from common.kube.watch import Event, Watch
from common.latest import Latest
from services.destination.fields import Path, spell
from services.destination.kinds import Reading, read
from services.destination.resources import Change, Put, Ref, Removed
from services.destination.sources.objects import KINDS
from services.destination.sources.standing import OnChanges, Standing, Tell

log = logging.getLogger(__name__)

ANNOTATIONS: Path = ("metadata", "annotations")


class Kubernetes:
    """Follows a cluster; `on_changes` is called with each batch of changes, on the event loop."""

    def __init__(
        self,
        client: Client,
        on_changes: OnChanges,
        tell: Tell,
        *,
        kinds: tuple[Kind[Any], ...] = KINDS,
        clock: Clock | None = None,
    ) -> None:
        self.standing = Latest(Standing())
        self._client = client  # opened by `run`
        self._on_changes = on_changes
        self._tell = tell
        self._apis = {kind.name: kind.api for kind in kinds}
        self._told: dict[Ref, str] = {}
        self._broken: set[Ref] = set()
        self._remarked: dict[Ref, str] = {}
        self.watches = [Watch(client, kind, self.take, clock=clock) for kind in kinds]

    async def run(self) -> None:
        """Follow for ever."""
        async with self._client, anyio.create_task_group() as group:
            for watch in self.watches:
                watch.state.on_change(lambda _: self._stand())
                group.start_soon(watch.run)

    def take(self, events: list[Event[Any]]) -> None:
        """Hand on what was seen; mistakes are told."""
        self._on_changes([self._change(event) for event in events])
        self._stand()

    def _change(self, event: Event[Any]) -> Change:
        match event:
            case Seen(kind, found):
                ref = _ref(kind, found.metadata.namespace, found.metadata.name)
                head = {"apiVersion": self._apis[kind], "kind": kind}
                return self._judge(ref, read(head | msgspec.to_builtins(found)))
            case Unreadable(kind, namespace, name, mistake):
                ref = _ref(kind, namespace, name)
                self._note(ref, mistake, broken=True)
                return Removed(ref)
            case Gone(kind, namespace, name):
                ref = _ref(kind, namespace, name)
                self._note(ref, "", gone=True)
                self._remarked.pop(ref, None)
                return Removed(ref)

    def _judge(self, ref: Ref, reading: Reading) -> Change:
        wrong = [path for path in reading.mistakes if path[:2] != ANNOTATIONS]
        words = "; ".join(f"{spell(path)}: {told}" for path, told in reading.mistakes.items())
        self._note(ref, words, broken=bool(wrong))
        for remark in reading.remarks:
            self._remark(ref, remark)
        if wrong or not reading.resources:
            return Removed(ref)
        ((_, resource),) = reading.resources
        return Put(resource)

    def _note(self, ref: Ref, words: str, *, broken: bool = False, gone: bool = False) -> None:
        """Tell what is wrong with an object (nothing: `words` is empty), unless it has been told."""
        (self._broken.add if broken else self._broken.discard)(ref)
        before = self._told.pop(ref, "")
        told = {"object": str(ref)}
        if words:
            self._told[ref] = words
            if words != before:
                kept = "nothing" if broken else "the default"
                self._tell("rejected", f"{ref}: {words}", {**told, "reason": words, "kept": kept})
        elif before and not gone:
            self._tell("accepted", f"{ref}: in order again", told)

    def _remark(self, ref: Ref, remark: str) -> None:
        if self._remarked.get(ref) != remark:
            self._remarked[ref] = remark
            self._tell("ignored", remark, {"object": str(ref)})

    def _stand(self) -> None:
        states = {watch.kind.name: watch.state.value for watch in self.watches}
        self.standing.set(
            Standing(
                loaded=all(state.loaded for state in states.values()),
                broken=frozenset(map(str, self._broken)),
                silent=frozenset(name for name, state in states.items() if state.trouble),
            )
        )


def _ref(kind: Any, namespace: str, name: str) -> Ref:
    return Ref(kind, namespace, name)
