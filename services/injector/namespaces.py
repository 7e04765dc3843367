"""What namespaces say about injection, followed; one that is not known yet is asked for."""

from collections.abc import Mapping
from typing import Any

import msgspec

from common.kube.client import Client
from common.kube.objects import Kind, Meta, Seen
from common.kube.watch import Watch
from services.injector.annotations import INJECT, PREFIX, with_label


class _Metadata(Meta, frozen=True, rename="camel"):
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class Namespace(msgspec.Struct, frozen=True):
    """As much of a Namespace as injection needs."""

    metadata: _Metadata

    @property
    def ours(self) -> dict[str, str]:
        """The annotations that are for us, or the label."""
        everything = with_label(self.metadata.annotations or {}, self.metadata.labels or {})
        return {k: v for k, v in everything.items() if k == INJECT or k.startswith(PREFIX)}


class Namespaces:
    """The annotations of every namespace, as far as they are ours."""

    def __init__(self, client: Client) -> None:
        kind = Kind(name="Namespace", plural="namespaces", model=Namespace)
        self._client = client
        self._known: dict[str, dict[str, str]] = {}
        self._watch = Watch(client, kind, self._hear)

    @property
    def loaded(self) -> bool:
        """All have been listed once."""
        return self._watch.state.value.loaded

    async def run(self) -> None:
        """Follow for ever."""
        await self._watch.run()

    async def annotations(self, name: str) -> Mapping[str, str]:
        """What a namespace says; nothing if there is no such. Raises KubernetesUnavailable or …Refused."""
        known = self._known.get(name)
        if known is not None:
            return known
        found = await self._client.find(f"/api/v1/namespaces/{name}", Namespace)
        return found.ours if found else {}

    def _hear(self, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, Seen):
                self._known[event.object.metadata.name] = event.object.ours
            else:
                # Gone, or not to be read: then it is asked for when it matters.
                self._known.pop(event.name, None)
