"""Kinds of objects, the part of them that is read, and what is seen when they are followed."""

from typing import Generic, Protocol, TypeVar

import msgspec


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """The metadata that every object has, as far as following needs it."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class Described(Protocol):
    """What can be read of an object: a Struct with fields of one's own choice, and this one."""

    @property
    def metadata(self) -> Meta:
        """Which object it is."""
        ...


T = TypeVar("T", bound=Described)


class Named(msgspec.Struct, frozen=True):
    """An object of which only the name is wanted."""

    metadata: Meta


class Kind(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """All objects of one kind, and what to read of each."""

    name: str
    """As it stands in `kind`, such as `Pod`."""
    api: str = "v1"
    plural: str
    model: type[T]
    namespace: str = ""
    """Only there, if given."""
    fields: str = ""
    """A field selector, if not all are wanted."""
    optional: bool = False
    """The API may not know it, as before its CRD is installed: then there are none."""

    @property
    def path(self) -> str:
        """Where the API has them."""
        return f"{api_path(self.api, self.namespace)}/{self.plural}"


def api_path(api: str, namespace: str = "") -> str:
    """Where the API has a version of a group (`v1`, `apps/v1`), or what of it is in a namespace."""
    root = f"/apis/{api}" if "/" in api else f"/api/{api}"
    return f"{root}/namespaces/{namespace}" if namespace else root


class Seen(msgspec.Struct, Generic[T], frozen=True):
    """This object is so now."""

    kind: str
    object: T


class Gone(msgspec.Struct, frozen=True):
    """This object is no more, or is not selected any more."""

    kind: str
    namespace: str
    name: str


class Unreadable(msgspec.Struct, frozen=True):
    """This object is there, but not in a shape that can be read; `mistake` names the field."""

    kind: str
    namespace: str
    name: str
    mistake: str
