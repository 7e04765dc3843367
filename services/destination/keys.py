"""Names of answers: each key stands for one document, published on one subject.

Law: `key_of(document)` is the key whose answer the document is; two keys never share a subject.
"""

from typing import Any

import msgspec

from common.contract import subjects
from common.contract.discovery import Address, EndpointSlice, Service, Settings, Workload
from common.contract.topic import Document, State
from common.names import ServiceName, WorkloadName


class AddressKey(msgspec.Struct, frozen=True, order=True):
    """What lives at an IP address, in canonical spelling."""

    ip: str

    @property
    def state(self) -> State[Any]:
        """Where it is published."""
        return subjects.address(self.ip)

    @property
    def tombstone(self) -> Document:
        """What is published when it is gone."""
        return Address(address=self.ip, deleted=True)


class ServiceKey(msgspec.Struct, frozen=True, order=True):
    """A service's own document."""

    name: ServiceName

    @property
    def state(self) -> State[Any]:
        """Where it is published."""
        return subjects.service(self.name)

    @property
    def tombstone(self) -> Document:
        """What is published when it is gone."""
        return Service(namespace=self.name.namespace, name=self.name.name, deleted=True)


class SliceKey(msgspec.Struct, frozen=True, order=True):
    """Some endpoints of a service."""

    service: ServiceName
    name: str

    @property
    def state(self) -> State[Any]:
        """Where it is published."""
        return subjects.endpoints(self.service, self.name)

    @property
    def tombstone(self) -> Document:
        """What is published when it is gone."""
        name = self.service
        return EndpointSlice(
            namespace=name.namespace, service=name.name, name=self.name, deleted=True
        )


class WorkloadKey(msgspec.Struct, frozen=True, order=True):
    """What a proxy must know of its own workload."""

    name: WorkloadName

    @property
    def state(self) -> State[Any]:
        """Where it is published."""
        return subjects.workload(self.name)

    @property
    def tombstone(self) -> Document:
        """What is published when it is gone."""
        return Workload(namespace=self.name.namespace, name=self.name.name, deleted=True)


class SettingsKey(msgspec.Struct, frozen=True, order=True):
    """The settings of the whole mesh; they are never gone."""

    @property
    def state(self) -> State[Any]:
        """Where they are published."""
        return subjects.settings()

    @property
    def tombstone(self) -> Document:
        """What is published when they are gone: the defaults."""
        return Settings()


Key = AddressKey | ServiceKey | SliceKey | WorkloadKey | SettingsKey


def key_of(document: Document) -> Key:
    """The key whose answer `document` is; raises InvalidName if its names are none."""
    match document:
        case Address():
            return AddressKey(document.address)
        case Service():
            return ServiceKey(ServiceName(document.namespace, document.name))
        case EndpointSlice():
            return SliceKey(ServiceName(document.namespace, document.service), document.name)
        case Workload():
            return WorkloadKey(WorkloadName(document.namespace, document.name))
        case Settings():
            return SettingsKey()
    raise TypeError(f"destination publishes no {type(document).__name__}")
