"""The laws of the index, stated over any history, and examples for people."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.contract.discovery import (
    Address,
    Endpoint,
    EndpointSlice,
    FailureAccrual,
    Service,
    Settings,
    Workload,
)
from common.contract.topic import Document
from common.names import ServiceName, WorkloadName
from services.destination import resources as res
from services.destination.answers import answer
from services.destination.index import Index
from services.destination.keys import AddressKey, Key, ServiceKey, SliceKey, WorkloadKey, key_of

NAMES = st.sampled_from(["a", "b"])
UIDS = st.sampled_from(["", "u1", "u2"])
IPS = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"])
NODES = st.sampled_from(["n1", "n2"])
OPAQUE = st.none() | st.frozensets(st.sampled_from([25, 80, 3306]))

pods = st.builds(
    res.Pod,
    namespace=st.just("shop"),
    name=NAMES,
    uid=UIDS,
    addresses=st.lists(IPS, max_size=2, unique=True).map(tuple),
    meshed=st.booleans(),
    opaque_ports=OPAQUE,
    default_policy=st.sampled_from([None, "deny"]),
    node=NODES,
)
services = st.builds(
    res.Service,
    namespace=st.just("shop"),
    name=NAMES,
    addresses=st.lists(IPS, max_size=2, unique=True).map(tuple),
    family=st.sampled_from([None, 4, 6]),
    ports=st.lists(st.builds(res.Port, st.sampled_from([80, 25])), max_size=1).map(tuple),
    opaque_ports=OPAQUE,
    failure_accrual=st.sampled_from([None, FailureAccrual(), FailureAccrual(max_failures=3)]),
)
places = st.builds(
    res.SliceEndpoint,
    address=IPS,
    ready=st.booleans(),
    pod=st.none() | st.builds(WorkloadName, st.just("shop"), NAMES),
    pod_uid=UIDS,
    node=NODES,
    zone=st.sampled_from(["", "eu-1"]),
    for_zones=st.sampled_from([(), ("eu-1",), ("eu-1", "eu-2")]),
)
slices = st.builds(
    res.EndpointSlice,
    namespace=st.just("shop"),
    name=NAMES,
    service=NAMES,
    family=st.sampled_from([4, 6]),
    ports=st.just((res.Port(25),)),
    endpoints=st.lists(places, max_size=3).map(tuple),
)
settings = st.builds(res.MeshSettings, opaque_ports=OPAQUE)
heard = st.builds(
    res.Heard,
    workload=st.builds(WorkloadName, st.just("shop"), NAMES),
    uid=UIDS,
    time=st.sampled_from([1.0, 2.0, 3.0]),
    leaving=st.booleans(),
)
spoke = st.builds(
    res.Spoke,
    workload=st.builds(WorkloadName, st.just("shop"), NAMES),
    uid=UIDS,
    port=st.sampled_from([25, 80]),
)
words_of_proxies = st.one_of(heard, spoke)
namespaces = st.builds(
    res.Namespace,
    name=st.sampled_from(["shop", "other"]),
    opaque_ports=OPAQUE,
    default_policy=st.sampled_from([None, "deny"]),
)
nodes = st.builds(res.Node, name=NODES, zone=st.sampled_from(["", "eu-1", "eu-2"]))
resources = st.one_of(pods, services, slices, settings, namespaces, nodes)
changes = st.one_of(
    resources.map(res.Put), resources.map(lambda r: res.Removed(r.ref)), words_of_proxies
)


def everything(index: Index) -> dict[Key, Document]:
    return {key: found for key in index.all_keys() if (found := answer(index, key)) is not None}


def index_of(*history: res.Change) -> Index:
    index = Index()
    for change in history:
        index.apply(change)
    return index


@given(st.lists(changes, max_size=12), changes)
def test_an_answer_that_was_not_named_stale_is_as_it_was(
    history: list[res.Change], change: res.Change
) -> None:
    index = index_of(*history)
    before = everything(index)

    stale = index.apply(change)

    after = everything(index)
    changed = {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
    assert changed <= stale


@given(st.lists(resources, unique_by=lambda r: r.ref, max_size=8), st.data())
def test_any_order_of_the_same_changes_gives_the_same_answers(
    found: list[res.Resource], data: st.DataObject
) -> None:
    words = data.draw(st.lists(words_of_proxies, max_size=4))
    history: list[res.Change] = [*(res.Put(f) for f in found), *words]
    shuffled = data.draw(st.permutations(history))

    assert everything(index_of(*history)) == everything(index_of(*shuffled))


@given(st.lists(changes, max_size=12), resources)
def test_a_change_and_its_inverse_restore_the_answers(
    history: list[res.Change], new: res.Resource
) -> None:
    index = index_of(*history, res.Removed(new.ref))
    before = everything(index)

    index.apply(res.Put(new))
    index.apply(res.Removed(new.ref))

    assert everything(index) == before


@given(st.lists(changes, max_size=12))
def test_removing_every_object_leaves_only_the_default_settings(history: list[res.Change]) -> None:
    index = index_of(*history)

    for change in history:
        if isinstance(change, res.Put):
            index.apply(res.Removed(change.resource.ref))

    assert list(everything(index).values()) == [Settings()]
    tables: dict[str, Any] = {k: v for k, v in vars(index).items() if isinstance(v, dict)}
    assert not any(tables.values()), "nothing is kept of what is gone"


@given(st.lists(changes, max_size=12))
def test_every_document_is_found_again_by_what_it_says(history: list[res.Change]) -> None:
    for key, document in everything(index_of(*history)).items():
        assert key_of(document) == key
        assert key_of(key.tombstone) == key
        assert key.state.decode(key.state.encode(document)) == document


@given(st.lists(changes, max_size=12))
def test_a_service_names_exactly_the_slices_that_there_are(history: list[res.Change]) -> None:
    found = everything(index_of(*history))

    named = {
        SliceKey(k.name, name)
        for k, document in found.items()
        if isinstance(k, ServiceKey) and isinstance(document, Service)
        for name in document.slices
    }
    assert named == {k for k in found if isinstance(k, SliceKey)}


def index_with(*found: res.Resource, heard: Sequence[res.Heard] = ()) -> Index:
    return index_of(*(res.Put(resource) for resource in found), *heard)


WEB = ServiceName("shop", "web")
POD = WorkloadName("shop", "web-1")
SERVICE = res.Service(
    namespace="shop", name="web", addresses=("10.96.0.1",), ports=(res.Port(80, "http", "http"),)
)
MESHED = res.Pod(
    namespace="shop",
    name="web-1",
    uid="u1",
    owner="web",
    service_account="web",
    addresses=("10.0.0.1",),
    meshed=True,
)
SLICE = res.EndpointSlice(
    namespace="shop",
    name="web-x",
    service="web",
    family=4,
    ports=(res.Port(8080, "http"),),
    endpoints=(res.SliceEndpoint(address="10.0.0.1", pod=POD, pod_uid="u1", zone="eu-1"),),
)
IDENTITY = "spiffe://cluster.local/ns/shop/sa/web"


def only_endpoint(index: Index) -> Endpoint:
    found = answer(index, SliceKey(WEB, "web-x"))
    assert isinstance(found, EndpointSlice)
    (endpoint,) = found.endpoints
    return endpoint


def test_a_meshed_endpoint_says_who_it_is_and_where_its_proxy_listens() -> None:
    index = index_with(SERVICE, SLICE, MESHED)

    assert only_endpoint(index) == Endpoint(
        address="10.0.0.1",
        ports={"http": 8080},
        workload="web-1",
        namespace="shop",
        owner="web",
        uid="u1",
        identity=IDENTITY,
        proxy_port=4143,
        zone="eu-1",
    )


def test_an_endpoint_whose_pod_is_not_known_yet_is_not_ready() -> None:
    index = index_of(res.Put(SERVICE), res.Put(SLICE))

    assert not only_endpoint(index).ready
    assert SliceKey(WEB, "web-x") in index.apply(res.Put(MESHED))
    assert only_endpoint(index).ready


def test_an_endpoint_of_a_pod_that_has_been_replaced_is_not_ready() -> None:
    newer = msgspec.structs.replace(MESHED, uid="u2")
    index = index_with(SERVICE, SLICE, newer)

    assert only_endpoint(index) == Endpoint(
        address="10.0.0.1",
        ports={"http": 8080},
        workload="web-1",
        namespace="shop",
        uid="u1",
        zone="eu-1",
        ready=False,
    )


def test_an_endpoint_that_names_no_pod_is_the_pod_with_its_address() -> None:
    bare = res.SliceEndpoint(address="10.0.0.1")
    nameless = msgspec.structs.replace(SLICE, endpoints=(bare,))

    assert only_endpoint(index_with(SERVICE, nameless)).ready
    assert only_endpoint(index_with(SERVICE, nameless, MESHED)).identity == IDENTITY


def test_the_addresses_lead_to_the_service_and_to_the_workload() -> None:
    index = index_with(SERVICE, SLICE, MESHED)

    assert answer(index, AddressKey("10.96.0.1")) == Address(
        address="10.96.0.1", service="web.shop"
    )
    at_pod = answer(index, AddressKey("10.0.0.1"))
    assert isinstance(at_pod, Address)
    assert at_pod.workload is not None
    assert (at_pod.workload.workload, at_pod.workload.identity) == ("web-1", IDENTITY)
    assert answer(index, AddressKey("10.0.0.9")) is None


def test_only_a_meshed_pod_has_a_workload_document() -> None:
    index = index_of(res.Put(MESHED))
    assert answer(index, WorkloadKey(POD)) is not None

    index.apply(res.Put(msgspec.structs.replace(MESHED, meshed=False)))

    assert answer(index, WorkloadKey(POD)) is None


@pytest.mark.parametrize(
    ("port", "own", "hint"),
    [
        (res.Port(80), None, "detect"),
        (res.Port(80, "web", "http"), None, "http1"),
        (res.Port(80, "grpc", "kubernetes.io/h2c"), None, "http2"),
        (res.Port(80, "raw", "tulle.dev/opaque"), None, "opaque"),
        (res.Port(80, "raw", "tulle.dev/tcp"), None, "opaque"),
        (res.Port(80, "odd", "example.com/odd"), None, "opaque"),
        (res.Port(80, "web", ""), None, "detect"),
        (res.Port(3306), None, "opaque"),
        (res.Port(3306, "web", "http"), None, "http1"),
        (res.Port(3306), frozenset(), "detect"),
        (res.Port(80, "web", "http"), frozenset({80}), "opaque"),
    ],
)
def test_what_a_port_speaks(port: res.Port, own: frozenset[int] | None, hint: str) -> None:
    resource = res.Service(namespace="shop", name="web", ports=(port,), opaque_ports=own)

    found = answer(index_of(res.Put(resource)), ServiceKey(WEB))

    assert isinstance(found, Service)
    assert found.ports[0].hint == hint


def word(phase_leaves: bool, time: float, uid: str = "u1", workload: str = "web-1") -> res.Heard:
    return res.Heard(
        workload=WorkloadName("shop", workload), uid=uid, time=time, leaving=phase_leaves
    )


@pytest.mark.parametrize(
    ("words", "ready"),
    [
        ([word(True, 1)], False),
        ([word(True, 1, uid="")], False),
        ([word(True, 1, uid="u0")], True),
        ([word(True, 1, workload="web-2")], True),
        ([word(True, 1), word(False, 2)], True),
        ([word(False, 2), word(True, 1)], True),
        ([word(True, 2), word(False, 1)], False),
        ([word(True, 1), word(False, 1)], False),
        ([word(True, 1, uid=""), word(False, 2)], True),
    ],
)
def test_a_draining_workload_is_not_ready_until_a_newer_word(
    words: list[res.Heard], ready: bool
) -> None:
    index = index_with(SERVICE, SLICE, MESHED, heard=words)

    assert only_endpoint(index).ready is ready
    assert answer(index, SliceKey(WEB, "web-x")) is not None


def test_draining_makes_only_the_slice_of_that_endpoint_stale() -> None:
    index = index_with(SERVICE, SLICE, MESHED)

    assert index.apply(word(True, 1)) == {SliceKey(WEB, "web-x")}
    assert index.apply(word(True, 1)) == set()


def test_one_endpoint_of_a_large_slice_costs_one_part() -> None:
    many = tuple(res.SliceEndpoint(address=f"10.1.{n // 250}.{n % 250}") for n in range(1000))
    large = msgspec.structs.replace(SLICE, endpoints=many)
    index = index_of(res.Put(SERVICE), res.Put(large))

    stale = index.apply(res.Put(msgspec.structs.replace(large, endpoints=many[:-1])))

    assert len(stale) == 1
    assert len(index.parts) > 10


def test_settings_of_the_mesh_reach_every_answer_that_they_change() -> None:
    index = index_with(SERVICE, SLICE, MESHED)
    before = everything(index)

    index.apply(res.Put(res.MeshSettings(opaque_ports=frozenset({8080}))))

    assert only_endpoint(index).opaque_ports == (8080,)
    assert everything(index).keys() == before.keys()


def test_a_port_that_speaks_first_is_opaque_for_that_pod_and_no_other_of_its_name() -> None:
    pod = res.Pod(namespace="shop", name="a", uid="u1", addresses=("10.0.0.1",), meshed=True)
    word = res.Spoke(workload=pod.id, uid="u1", port=7000)
    key = WorkloadKey(pod.id)

    told = answer(index_of(res.Put(pod), word), key)
    successor = msgspec.structs.replace(pod, uid="u2")
    later = answer(index_of(res.Put(pod), word, res.Put(successor)), key)

    assert isinstance(told, Workload)
    assert isinstance(later, Workload)
    assert 7000 in told.opaque_ports
    assert 7000 not in later.opaque_ports


def test_a_namespace_speaks_for_its_pods_and_services_that_say_nothing() -> None:
    index = index_with(SERVICE, SLICE, MESHED)
    shop = res.Namespace(name="shop", opaque_ports=frozenset({8080}), default_policy="deny")

    stale = index.apply(res.Put(shop))

    told = answer(index, WorkloadKey(POD))
    assert isinstance(told, Workload)
    assert (told.opaque_ports, told.default_policy) == ((8080,), "deny")
    assert only_endpoint(index).opaque_ports == (8080,)
    assert stale == {
        ServiceKey(WEB),
        SliceKey(WEB, "web-x"),
        WorkloadKey(POD),
        AddressKey("10.0.0.1"),
    }
    own = msgspec.structs.replace(
        MESHED, opaque_ports=frozenset(), default_policy="all-authenticated"
    )
    index.apply(res.Put(own))
    told = answer(index, WorkloadKey(POD))
    assert isinstance(told, Workload)
    assert (told.opaque_ports, told.default_policy) == ((), "all-authenticated")


def test_a_namespace_or_node_that_says_nothing_makes_nothing_stale() -> None:
    index = index_with(SERVICE, SLICE, MESHED)

    assert index.apply(res.Put(res.Namespace(name="shop"))) == set()
    assert index.apply(res.Put(res.Node(name="n1"))) == set()


def test_a_workload_is_in_the_zone_of_its_node_and_an_endpoint_where_it_says() -> None:
    pod = msgspec.structs.replace(MESHED, node="n1")
    nowhere = res.SliceEndpoint(address="10.0.0.1", pod=POD, node="n1")
    index = index_with(SERVICE, msgspec.structs.replace(SLICE, endpoints=(nowhere,)), pod)
    assert only_endpoint(index).zone == ""

    stale = index.apply(res.Put(res.Node(name="n1", zone="eu-2")))

    assert stale == {SliceKey(WEB, "web-x"), WorkloadKey(POD), AddressKey("10.0.0.1")}
    told = answer(index, WorkloadKey(POD))
    assert isinstance(told, Workload)
    assert (told.zone, only_endpoint(index).zone) == ("eu-2", "eu-2")
    index.apply(res.Put(SLICE))
    assert only_endpoint(index).zone == "eu-1"
