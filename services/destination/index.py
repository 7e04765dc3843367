"""Everything that destination knows, in one place: a change goes in, the keys of stale answers come out.

Sync, pure and total. Laws: what an answer is follows from the last word on each object and from the newest
word of each workload, whatever the order; an answer whose key `apply` did not return is as it was.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from common.contract.discovery import DefaultPolicy, Settings
from common.names import DEFAULT_TRUST_DOMAIN, ServiceName, WorkloadName
from services.destination.keys import (
    AddressKey,
    Key,
    ServiceKey,
    SettingsKey,
    SliceKey,
    WorkloadKey,
)
from services.destination.lessons import Lessons
from services.destination.marks import Marks
from services.destination.parts import split
from services.destination.resources import (
    Change,
    EndpointSlice,
    Family,
    Heard,
    MeshSettings,
    Namespace,
    Node,
    Pod,
    Port,
    Put,
    Ref,
    Removed,
    Resource,
    Service,
    SliceEndpoint,
    Spoke,
)

K = TypeVar("K")
V = TypeVar("V")


class Part(msgspec.Struct, frozen=True):
    """What one endpoints document is made from: a slice, or a part of a large one."""

    family: Family
    ports: tuple[Port, ...]
    endpoints: tuple[SliceEndpoint, ...]


class Index:
    """The resources by name, and who refers to whom. Readers (see answers) must not change anything."""

    def __init__(self, trust_domain: str = DEFAULT_TRUST_DOMAIN) -> None:
        self.trust_domain = trust_domain
        self.services: dict[ServiceName, Service] = {}
        self.pods: dict[WorkloadName, Pod] = {}
        self.slices: dict[Ref, EndpointSlice] = {}
        self.namespaces: dict[str, Namespace] = {}
        self.nodes: dict[str, Node] = {}
        self.settings: dict[Ref, MeshSettings] = {}
        self.marks = Marks()
        self.lessons = Lessons()
        self.parts: dict[SliceKey, Part] = {}
        self.parts_of_service: dict[ServiceName, set[SliceKey]] = {}
        self.services_at: dict[str, set[ServiceName]] = {}
        self.pods_at: dict[str, set[WorkloadName]] = {}
        self._parts_with_pod: dict[WorkloadName, set[SliceKey]] = {}
        self._parts_with_address: dict[str, set[SliceKey]] = {}
        self._parts_on_node: dict[str, set[SliceKey]] = {}
        self._pods_on_node: dict[str, set[WorkloadName]] = {}

    def __repr__(self) -> str:
        return (
            f"<Index {len(self.services)} services {len(self.slices)} slices {len(self.pods)} pods>"
        )

    def apply(self, change: Change) -> set[Key]:
        """Take a change in; returns the keys whose answers may be others now."""
        match change:
            case Put(resource):
                return self._replace(resource.ref, resource)
            case Removed(ref):
                return self._replace(ref, None)
            case Heard():
                return self._heard(change)
            case Spoke():
                return self._spoke(change)

    def all_keys(self) -> Iterator[Key]:
        """Every key that has an answer."""
        yield SettingsKey()
        yield from (ServiceKey(name) for name in self.services)
        yield from (key for key in self.parts if key.service in self.services)
        yield from map(AddressKey, self.services_at.keys() | self.pods_at.keys())
        yield from (WorkloadKey(name) for name, pod in self.pods.items() if pod.meshed)

    def pod_of(self, endpoint: SliceEndpoint) -> Pod | None:
        """The pod that an endpoint names, or else the one that has its address; None: not known (yet)."""
        if endpoint.pod is not None:
            pod = self.pods.get(endpoint.pod)
            # A slice may still name the pod that had this name before.
            return pod if pod and _same(endpoint.pod_uid, pod.uid) else None
        residents = self.pods_at.get(endpoint.address)
        return self.pods[min(residents)] if residents else None

    def opaque_ports_of(self, pod: Pod) -> frozenset[int]:
        """The ports of a pod that are never looked into: as declared, and where it was heard to speak first."""
        declared = self.opaque_ports(pod.opaque_ports, pod.namespace)
        return declared | self.lessons.ports(pod.id, pod.uid)

    def opaque_ports(self, own: frozenset[int] | None, namespace: str = "") -> frozenset[int]:
        """The ports never looked into: a resource's own list, or else its namespace's, or else the mesh's."""
        if own is not None:
            return own
        home = self.namespaces.get(namespace)
        if home is not None and home.opaque_ports is not None:
            return home.opaque_ports
        chosen = self.mesh_settings
        if chosen is not None and chosen.opaque_ports is not None:
            return chosen.opaque_ports
        return DEFAULT_OPAQUE_PORTS

    def policy_of(self, pod: Pod) -> DefaultPolicy:
        """What a pod's proxy lets in where nothing more is said: its own word, or its namespace's."""
        home = self.namespaces.get(pod.namespace)
        return pod.default_policy or (home and home.default_policy) or "all-unauthenticated"

    def zone_of(self, resource: Pod | SliceEndpoint) -> str:
        """Where it runs: its own word, or its node's."""
        own = resource.zone if isinstance(resource, SliceEndpoint) else ""
        node = self.nodes.get(resource.node)
        return own or (node.zone if node else "")

    @property
    def mesh_settings(self) -> MeshSettings | None:
        """The MeshSettings in force; there is one at most."""
        return next(iter(self.settings.values()), None)

    def _replace(self, ref: Ref, new: Resource | None) -> set[Key]:
        match ref.kind:
            case "Service":
                return self._service(ServiceName(ref.namespace, ref.name), new)
            case "EndpointSlice":
                return self._slice(ref, new)
            case "Pod":
                return self._pod(WorkloadName(ref.namespace, ref.name), new)
            case "Namespace":
                return self._namespace(ref.name, new)
            case "Node":
                return self._node(ref.name, new)
            case "MeshSettings":
                return self._settings(ref, new)

    def _service(self, name: ServiceName, resource: Resource | None) -> set[Key]:
        old = _swap(self.services, name, resource, Service)
        new = self.services.get(name)
        if old == new:
            return set()
        moved = _move(self.services_at, name, _addresses(old), _addresses(new))
        stale: set[Key] = {ServiceKey(name), *map(AddressKey, moved)}
        if old is None or new is None or old.family != new.family:
            stale |= self.parts_of_service.get(name, set())
        return stale

    def _pod(self, name: WorkloadName, resource: Resource | None) -> set[Key]:
        old = _swap(self.pods, name, resource, Pod)
        new = self.pods.get(name)
        if old == new:
            return set()
        _move(self.pods_at, name, _addresses(old), _addresses(new))
        _move(self._pods_on_node, name, _node_of(old), _node_of(new))
        return self._answers_about(name, {*_addresses(old), *_addresses(new)})

    def _slice(self, ref: Ref, new: Resource | None) -> set[Key]:
        before = _parts(_swap(self.slices, ref, new, EndpointSlice))
        after = _parts(self.slices.get(ref))
        stale: set[Key] = set()
        for key in before.keys() | after.keys():
            old_part, part = before.get(key), after.get(key)
            if old_part == part:
                continue
            stale.add(key)
            self._part(key, old_part, part)
            if old_part is None or part is None or old_part.family != part.family:
                stale.add(ServiceKey(key.service))
        return stale

    def _part(self, key: SliceKey, old: Part | None, new: Part | None) -> None:
        _swap(self.parts, key, new, Part)
        of = {key.service}
        _move(self.parts_of_service, key, of if old else (), of if new else ())
        _move(self._parts_with_address, key, _places(old), _places(new))
        _move(self._parts_with_pod, key, _pods(old), _pods(new))
        _move(self._parts_on_node, key, _nodes(old), _nodes(new))

    def _namespace(self, name: str, resource: Resource | None) -> set[Key]:
        old = _swap(self.namespaces, name, resource, Namespace) or Namespace(name=name)
        if old == self.namespaces.get(name, Namespace(name=name)):
            return set()
        stale: set[Key] = {
            ServiceKey(service) for service in self.services if service.namespace == name
        }
        stale.update(key for key in self.parts if key.service.namespace == name)
        for workload, keys in self._parts_with_pod.items():
            stale.update(keys if workload.namespace == name else ())
        for workload, pod in self.pods.items():
            if workload.namespace == name:
                stale |= self._answers_about(workload, pod.addresses)
        return stale

    def _node(self, name: str, resource: Resource | None) -> set[Key]:
        old = _swap(self.nodes, name, resource, Node) or Node(name=name)
        if old == self.nodes.get(name, Node(name=name)):
            return set()
        pods = {
            key
            for w in self._pods_on_node.get(name, ())
            for key in self._answers_about(w, _addresses(self.pods[w]))
        }
        return pods | self._parts_on_node.get(name, set())

    def _settings(self, ref: Ref, new: Resource | None) -> set[Key]:
        before = self.opaque_ports(None)
        _swap(self.settings, ref, new, MeshSettings)
        return {SettingsKey()} if self.opaque_ports(None) == before else set(self.all_keys())

    def _heard(self, word: Heard) -> set[Key]:
        if not self.marks.note(word):
            return set()
        pod = self.pods.get(word.workload)
        return set(self._parts_with(word.workload, _addresses(pod)))

    def _spoke(self, word: Spoke) -> set[Key]:
        if not self.lessons.note(word):
            return set()
        return self._answers_about(word.workload, _addresses(self.pods.get(word.workload)))

    def _answers_about(self, name: WorkloadName, addresses: Iterable[str]) -> set[Key]:
        addresses = set(addresses)
        return {
            WorkloadKey(name),
            *map(AddressKey, addresses),
            *self._parts_with(name, addresses),
        }

    def _parts_with(self, name: WorkloadName, addresses: Iterable[str]) -> set[SliceKey]:
        found = set(self._parts_with_pod.get(name, ()))
        for address in addresses:
            found |= self._parts_with_address.get(address, set())
        return found


DEFAULT_OPAQUE_PORTS = frozenset(Settings().opaque_ports)


def _same(uid: str, other: str) -> bool:
    return not uid or not other or uid == other


def _addresses(resource: Service | Pod | None) -> tuple[str, ...]:
    return resource.addresses if resource else ()


def _places(part: Part | None) -> set[str]:
    return {e.address for e in part.endpoints} if part else set()


def _pods(part: Part | None) -> set[WorkloadName]:
    return {e.pod for e in part.endpoints if e.pod} if part else set()


def _nodes(part: Part | None) -> set[str]:
    return {e.node for e in part.endpoints if e.node} if part else set()


def _node_of(pod: Pod | None) -> set[str]:
    return {pod.node} if pod and pod.node else set()


def _parts(resource: EndpointSlice | None) -> dict[SliceKey, Part]:
    if resource is None:
        return {}
    service = ServiceName(resource.namespace, resource.service)
    return {
        SliceKey(service, name): Part(resource.family, resource.ports, endpoints)
        for name, endpoints in split(resource.name, resource.endpoints).items()
    }


def _swap(table: dict[K, V], key: K, new: object, kind: type[V]) -> V | None:
    """Put `new` in the table, or take the key out if it is no `kind`; returns what was there."""
    old = table.pop(key, None)
    if isinstance(new, kind):
        table[key] = new
    return old


def _move(table: dict[K, set[V]], who: V, old: Iterable[K], new: Iterable[K]) -> set[K]:
    """File `who` under `new` where it was under `old`; returns where that made a difference."""
    gone, come = set(old) - set(new), set(new) - set(old)
    for key in gone:
        table[key].discard(who)
        if not table[key]:
            del table[key]
    for key in come:
        table.setdefault(key, set()).add(who)
    return gone | come
