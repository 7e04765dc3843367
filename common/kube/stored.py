"""Secrets and ConfigMaps: named data, read, made, and changed by whoever has read it last."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from common.errors import KubernetesRefused
from common.kube.client import CONFLICT, MERGE_PATCH, Client
from common.kube.objects import Meta, api_path

KindOfData = Literal["Secret", "ConfigMap"]
_PLURALS: dict[KindOfData, str] = {"Secret": "secrets", "ConfigMap": "configmaps"}


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """One object, as it is or is to be."""

    kind: KindOfData
    name: str
    data: Mapping[str, bytes]
    labels: Mapping[str, str] = {}
    revision: str = ""
    """Its resourceVersion; empty for what is to be."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def __repr__(self) -> str:
        return f"<{self} {sorted(self.data)} at {self.revision or 'nothing'}>"


class _Secret(msgspec.Struct, frozen=True):
    metadata: Meta
    data: dict[str, bytes] | None = None


class _ConfigMap(msgspec.Struct, frozen=True):
    metadata: Meta
    data: dict[str, str] | None = None


class Shelf:
    """The Secrets and ConfigMaps of a namespace. All raise KubernetesUnavailable, KubernetesRefused."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.namespace = namespace
        self._client = client

    async def read(self, kind: KindOfData, name: str) -> Stored | None:
        """The object as it is now; None if there is none."""
        path = f"{self._path(kind)}/{name}"
        model: type[_Secret | _ConfigMap] = _Secret if kind == "Secret" else _ConfigMap
        found = await self._client.find(path, model)
        if found is None:
            return None
        data = {
            key: value.encode() if isinstance(value, str) else value
            for key, value in (found.data or {}).items()
        }
        return Stored(kind=kind, name=name, data=data, revision=found.metadata.resource_version)

    async def create(self, wanted: Stored) -> bool:
        """Make it; False if there is one already."""
        metadata = {"name": wanted.name, "namespace": self.namespace, "labels": wanted.labels}
        data = _spelled(wanted.kind, wanted.data)
        body = {"apiVersion": "v1", "kind": wanted.kind, "metadata": metadata, "data": data}
        try:
            await self._client.ask("POST", self._path(wanted.kind), body=body)
        except KubernetesRefused as error:
            if error.status == CONFLICT:
                return False
            raise
        return True

    async def change(self, before: Stored, data: Mapping[str, bytes]) -> str | None:
        """Have it hold `data` instead of what was read; its new revision, None if it is another since.

        Raises KubernetesRefused (NotFound) if it is no more.
        """
        changed = {key: value for key, value in data.items() if before.data.get(key) != value}
        spelled: dict[str, object] = dict(_spelled(before.kind, changed))
        spelled |= dict.fromkeys(before.data.keys() - data.keys())
        patch = {"metadata": {"resourceVersion": before.revision}, "data": spelled}
        path = f"{self._path(before.kind)}/{before.name}"
        try:
            answer = await self._client.call(
                "PATCH", path, _Revised, body=patch, content_type=MERGE_PATCH
            )
        except KubernetesRefused as error:
            if error.status == CONFLICT:
                return None
            raise
        return answer.metadata.resource_version

    def _path(self, kind: KindOfData) -> str:
        return f"{api_path('v1', self.namespace)}/{_PLURALS[kind]}"


class _Revised(msgspec.Struct, frozen=True):
    metadata: Meta


def _spelled(kind: KindOfData, data: Mapping[str, bytes]) -> Mapping[str, bytes | str]:
    """As the API has it: bytes become base64 in JSON by themselves, a ConfigMap holds text."""
    if kind == "Secret":
        return data
    return {key: value.decode() for key, value in data.items()}
