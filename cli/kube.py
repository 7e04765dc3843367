"""Questions to the Kubernetes API as commands ask them: what is there, what may I do, would you take this?"""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

from common.errors import KubernetesRefused
from common.kube.client import NOT_FOUND, Client

T = TypeVar("T")
Json = dict[str, Any]
_PAGE = "500"
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """What is read of every object."""

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: str = ""
    generation: int = 0


class Thing(msgspec.Struct, frozen=True):
    """An object of which only the metadata is wanted."""

    metadata: Metadata


class _More(msgspec.Struct, frozen=True):
    continue_: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct, Generic[T], frozen=True):
    metadata: _More = _More()
    items: list[T] | None = None


class Right(msgspec.Struct, frozen=True):
    """Something that one may do, or not."""

    verb: str
    group: str
    resource: str
    """As `pods`, or `pods/portforward`."""
    namespace: str = ""

    def __str__(self) -> str:
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{where}"


class _Allowed(msgspec.Struct, frozen=True):
    allowed: bool = False


class _Review(msgspec.Struct, frozen=True):
    status: _Allowed = _Allowed()


class Kube:
    """The API; all methods raise KubernetesUnavailable and KubernetesRefused."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def get(self, path: str, model: type[T]) -> T | None:
        """An object, or None if there is none."""
        return await self._client.find(path, model)

    async def all(self, path: str, model: type[T], query: Mapping[str, str] = {}) -> list[T]:
        """All objects of a kind, page by page; none if the API does not know the kind."""
        found: list[T] = []
        more = ""
        while True:
            asked = {"limit": _PAGE, **query, **({"continue": more} if more else {})}
            try:
                page = await self._client.call("GET", path, _List[model], query=asked)  # type: ignore[valid-type]
            except KubernetesRefused as error:
                if error.status == NOT_FOUND:
                    return found
                raise
            found += page.items or []
            more = page.metadata.continue_
            if not more:
                return found

    async def may(self, right: Right) -> bool:
        """Whether one may do that."""
        resource, _, sub = right.resource.partition("/")
        asked = {
            "verb": right.verb,
            "group": right.group,
            "resource": resource,
            "subresource": sub,
            "namespace": right.namespace,
        }
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {k: v for k, v in asked.items() if v}},
        }
        return (await self._client.call("POST", _REVIEWS, _Review, body=body)).status.allowed

    async def would_take(self, path: str, body: Json) -> Thing:
        """What would come of an object, if it were made: nothing is. KubernetesRefused says why not."""
        return await self._client.call("POST", path, Thing, query={"dryRun": "All"}, body=body)
