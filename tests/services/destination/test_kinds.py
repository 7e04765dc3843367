"""Kubernetes-shaped documents → resources: what is understood, and how every mistake is told."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.names import WorkloadName
from services.destination.fields import spell
from services.destination.kinds import read
from services.destination.resources import (
    EndpointSlice,
    MeshSettings,
    Pod,
    Port,
    Resource,
    Service,
    SliceEndpoint,
)
from services.destination.sources.yaml_text import parse
from tests.support.objects import POD, SERVICE, SLICE


def only(text: str) -> Resource:
    reading = read(parse(text)[0].value)
    assert reading.mistakes == {}
    ((_, resource),) = reading.resources
    return resource


def mistakes(text: str) -> dict[str, str]:
    return {spell(path): words for path, words in read(parse(text)[0].value).mistakes.items()}


def test_a_service_is_read() -> None:
    assert only(SERVICE) == Service(
        namespace="shop",
        name="web",
        addresses=("10.96.0.1", "fd00::1"),
        family=4,
        ports=(Port(80, "http", "http"), Port(3306, "db")),
        opaque_ports=frozenset({25, 3306, 8000, 8001, 8002}),
    )


def test_a_headless_service_has_no_addresses() -> None:
    text = "{apiVersion: v1, kind: Service, metadata: {name: db}, spec: {clusterIP: None}}"

    assert only(text) == Service(namespace="default", name="db")


def test_a_slice_is_read() -> None:
    assert only(SLICE) == EndpointSlice(
        namespace="shop",
        name="web-x",
        service="web",
        family=4,
        ports=(Port(8080, "http"),),
        endpoints=(
            SliceEndpoint(
                address="10.0.0.1",
                pod=WorkloadName("shop", "web-1"),
                pod_uid="u1",
                node="n1.example",
                zone="eu-1",
            ),
            SliceEndpoint(address="10.0.0.2", ready=False),
            SliceEndpoint(address="10.0.0.3", ready=False),
            SliceEndpoint(address="10.0.0.4"),
        ),
    )


def test_a_pod_is_read_and_its_owner_is_the_deployment() -> None:
    pod = only(POD)

    assert pod == Pod(
        namespace="shop",
        name="web-7d9f-abcde",
        uid="u1",
        owner="web",
        service_account="web",
        addresses=("10.0.0.1",),
        meshed=True,
        inbound_port=4999,
        opaque_ports=frozenset({3306, 25}),
        default_policy="deny",
        node="n1.example",
    )


@pytest.mark.parametrize("ended", ["status: {phase: Succeeded,", "status: {phase: Failed,"])
def test_a_pod_that_has_ended_has_no_address(ended: str) -> None:
    pod = only(POD.replace("status: {", ended))

    assert isinstance(pod, Pod)
    assert pod.addresses == ()


def test_a_pod_on_the_hosts_network_has_no_address_of_its_own() -> None:
    pod = only(POD.replace("spec:", "spec:\n  hostNetwork: true"))

    assert isinstance(pod, Pod)
    assert pod.addresses == ()


def test_a_pod_without_much_said_is_not_meshed() -> None:
    text = "{apiVersion: v1, kind: Pod, metadata: {name: web-1}}"

    assert only(text) == Pod(namespace="default", name="web-1")


def test_mesh_settings_are_read_and_what_they_leave_open_is_open() -> None:
    head = "{apiVersion: tulle.dev/v1alpha1, kind: MeshSettings, metadata: {name: mesh}, spec: "

    assert only(head + "{reportSeconds: 1, opaquePorts: [25]}}") == MeshSettings(
        report_seconds=1.0, opaque_ports=frozenset({25})
    )
    assert only(head + "{clusterNetworks: [10.0.0.0/8, 'fd00::/8'], logLevel: debug}}") == (
        MeshSettings(cluster_networks=("10.0.0.0/8", "fd00::/8"), log_level="debug")
    )


@pytest.mark.parametrize(
    ("rest", "place", "told"),
    [
        ("metadata: {name: other}", "metadata.name", "mesh: the settings of a mesh are one object"),
        ("metadata: {name: mesh}\nspec: {logLevels: info}", "spec.logLevels", "no such field"),
        (
            "metadata: {name: mesh}\nspec: {clusterNetworks: [10.0.0.1]}",
            "spec.clusterNetworks[0]",
            "CIDR",
        ),
    ],
)
def test_settings_of_another_name_and_misspelled_fields_are_told(
    rest: str, place: str, told: str
) -> None:
    found = mistakes(f"apiVersion: tulle.dev/v1alpha1\nkind: MeshSettings\n{rest}\n")

    assert list(found) == [place]
    assert told in found[place]


def test_a_list_is_unfolded_and_tells_mistakes_by_the_place_of_the_item() -> None:
    service, pod = parse(SERVICE)[0].value, parse(POD)[0].value
    reading = read({"apiVersion": "v1", "kind": "List", "items": [service, pod, {"kind": "Pod"}]})

    assert [type(resource) for _, resource in reading.resources][:2] == [Service, Pod]
    assert {spell(path) for path in reading.mistakes} == {
        "items[2].apiVersion",
    }


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("{apiVersion: apps/v1, kind: Deployment}", "apps/v1/Deployment"),
        ("{apiVersion: serving.knative.dev/v1, kind: Service}", "serving.knative.dev/v1/Service"),
    ],
)
def test_other_kinds_are_named_and_ignored(text: str, kind: str) -> None:
    reading = read(parse(text)[0].value)

    assert reading.ignored == [kind]
    assert reading.resources == []
    assert reading.mistakes == {}


@pytest.mark.parametrize(
    ("old", "new", "path", "words"),
    [
        ("name: web,", "", "metadata.name", "expected the name of a service, nothing there"),
        ("name: web,", "name: Web_1,", "metadata.name", "expected a DNS label such as 'web-1'"),
        ("[10.96.0.1,", "[10.96.0,", "spec.clusterIPs[0]", "expected an IP address, not '10.96.0'"),
        ("port: 80,", "port: '80',", "spec.ports[0].port", "expected a number from 1 to 65535"),
        ("port: 80,", "port: 65536,", "spec.ports[0].port", "not 65536"),
        ("port: 80,", "", "spec.ports[0].port", "nothing there"),
        ("port: 80,", "port: true,", "spec.ports[0].port", "not true"),
        ("protocol: TCP", "protocol: tcp", "spec.ports[1].protocol", "one of TCP, UDP, SCTP"),
        ('"25, 8000-8002,db"', "25", "metadata.annotations[config.tulle.dev/opaque-ports]", "quot"),
        ("8000-8002", "9-8", "metadata.annotations[config.tulle.dev/opaque-ports]", "ports such"),
        (",db", ",nope", "metadata.annotations[config.tulle.dev/opaque-ports]", "names of ports"),
        ("apiVersion: v1", "apiVersion: 1", "apiVersion", "in quotes"),
        ("kind: Service", "", "kind", "such as Service"),
        ("namespace: shop", "namespace: a.b", "metadata.namespace", "DNS label"),
    ],
)
def test_a_mistake_in_a_service_is_told_with_its_path(
    old: str, new: str, path: str, words: str
) -> None:
    assert words in mistakes(SERVICE.replace(old, new, 1))[path]


@pytest.mark.parametrize(
    ("old", "new", "path", "words"),
    [
        ("kubernetes.io/service-name: web", "", "metadata.labels[kubernetes.io/service-name]", "n"),
        ("addressType: IPv4", "addressType: IPv6", "endpoints[0].addresses[0]", "an IPv6 address"),
        ("[10.0.0.2]", "[]", "endpoints[1].addresses", "an IP address"),
        ("[10.0.0.2]", "[x]", "endpoints[1].addresses[0]", "an IP address, not 'x'"),
        ("[10.0.0.2]", "10.0.0.2", "endpoints[1].addresses", "a list, not '10.0.0.2'"),
        ("ready: false", "ready: maybe", "endpoints[1].conditions.ready", "true or false"),
        ("name: web-1,", "name: Web,", "endpoints[0].targetRef.name", "DNS name"),
    ],
)
def test_a_mistake_in_a_slice_is_told_with_its_path(
    old: str, new: str, path: str, words: str
) -> None:
    assert words in mistakes(SLICE.replace(old, new, 1))[path]


@pytest.mark.parametrize(
    ("old", "new", "path", "words"),
    [
        ('"true"', "true", "metadata.labels[tulle.dev/meshed]", "a text in quotes, not true"),
        ('"4999"', '"0"', "metadata.annotations[config.tulle.dev/inbound-port]", "1 to 65535"),
        ('"4999"', "4999", "metadata.annotations[config.tulle.dev/inbound-port]", "in quotes"),
        (
            "inbound-policy: deny",
            "inbound-policy: allow",
            "metadata.annotations[config.tulle.dev/default-inbound-policy]",
            "one of all-unauthenticated, all-authenticated, deny",
        ),
        ("serviceAccountName: web", "serviceAccountName: [w]", "spec.serviceAccountName", "a list"),
        ("podIPs: [{ip: 10.0.0.1}]", "podIPs: [{ip: 1}]", "status.podIPs[0].ip", "an IP address"),
    ],
)
def test_a_mistake_in_a_pod_is_told_with_its_path(
    old: str, new: str, path: str, words: str
) -> None:
    assert words in mistakes(POD.replace(old, new, 1))[path]


def test_every_mistake_of_a_document_is_told() -> None:
    broken = SERVICE.replace("port: 80,", "port: x,").replace("port: 3306", "port: 0")

    assert set(mistakes(broken)) == {"spec.ports[0].port", "spec.ports[1].port"}


def test_what_lies_inside_a_mistake_is_not_told_again() -> None:
    assert set(mistakes("{apiVersion: v1, kind: Pod, metadata: [], spec: 3}")) == {
        "metadata",
        "spec",
    }


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["metadata", "spec", "name", "ports", "items", "status", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)
kinds = st.sampled_from(
    [
        {"apiVersion": "v1", "kind": "Service"},
        {"apiVersion": "v1", "kind": "Pod"},
        {"apiVersion": "v1", "kind": "List"},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice"},
        {"apiVersion": "tulle.dev/v1alpha1", "kind": "MeshSettings"},
    ]
)


@given(kinds, json)
def test_no_document_is_too_strange_to_be_read(kind: dict[str, str], rest: object) -> None:
    document = {**(rest if isinstance(rest, dict) else {"spec": rest}), **kind}

    reading = read(document)

    assert reading.mistakes or all(msgspec.json.encode(r) for _, r in reading.resources)
