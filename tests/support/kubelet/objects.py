"""What the kubelet reads of the API's objects."""

import base64
from typing import Any

import msgspec

from common.kube.objects import Kind
from common.kube.objects import Meta as Plain


class Meta(Plain, frozen=True, rename="camel"):
    """Metadata, with what pods are told of themselves."""

    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    deletion_timestamp: str = ""
    deletion_grace_period_seconds: float = 30.0


class Pod(msgspec.Struct, frozen=True):
    """A pod; its specification as it stands in JSON."""

    metadata: Meta
    spec: dict[str, Any]
    status: dict[str, Any] = {}


class Data(msgspec.Struct, frozen=True, rename="camel"):
    """A Secret or a ConfigMap."""

    metadata: Plain
    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}


class Service(msgspec.Struct, frozen=True):
    """A service."""

    metadata: Plain
    spec: dict[str, Any] = {}


class Slice(msgspec.Struct, frozen=True, rename="camel"):
    """Some endpoints of a service."""

    metadata: Meta
    address_type: str = "IPv4"
    endpoints: list[dict[str, Any]] | None = None
    ports: list[dict[str, Any]] | None = None


PODS = Kind(name="Pod", plural="pods", model=Pod)
SECRETS = Kind(name="Secret", plural="secrets", model=Data)
MAPS = Kind(name="ConfigMap", plural="configmaps", model=Data)
SERVICES = Kind(name="Service", plural="services", model=Service)
SLICES = Kind(name="EndpointSlice", api="discovery.k8s.io/v1", plural="endpointslices", model=Slice)


def contents(kind: str, data: Data) -> dict[str, bytes]:
    """What a Secret or ConfigMap holds."""
    binary = data.data if kind == "Secret" else data.binary_data
    plain = {} if kind == "Secret" else data.data
    found = {key: base64.b64decode(text) for key, text in binary.items()}
    return found | {key: text.encode() for key, text in plain.items()}


class NotYetError(Exception):
    """A pod waits for something; the text says for what."""
