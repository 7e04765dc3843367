"""What a Service says of failing endpoints, and a slice of zones; and how every mistake is told."""

import msgspec
import pytest

from common.contract.discovery import EndpointSlice, FailureAccrual
from common.contract.discovery import Service as ServiceDocument
from common.names import ServiceName
from services.destination import resources as res
from services.destination.answers import answer
from services.destination.fields import spell
from services.destination.index import Index
from services.destination.keys import ServiceKey, SliceKey
from services.destination.kinds import read

PREFIX = "balancer.tulle.dev/failure-accrual"
MORE = PREFIX + "-consecutive-"


def service(**annotations: str) -> object:
    """A Service document; `_` in a name stands for what every annotation of the breaker begins with."""
    notes = {
        PREFIX if name == "_" else MORE + name.strip("_").replace("_", "-"): value
        for name, value in annotations.items()
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "annotations": notes},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]},
    }


def accrual(document: object) -> FailureAccrual | None:
    reading = read(document)
    assert reading.mistakes == {}
    ((_, resource),) = reading.resources
    assert isinstance(resource, res.Service)
    return resource.failure_accrual


def test_nothing_is_broken_off_unless_it_is_asked_for() -> None:
    assert accrual(service()) is None
    assert accrual(service(_max_failures="3")) is None


def test_what_is_not_said_is_as_in_other_meshes() -> None:
    assert accrual(service(_="consecutive")) == FailureAccrual(
        max_failures=7, min_penalty=1.0, max_penalty=60.0, jitter_ratio=0.5
    )


def test_every_figure_can_be_said() -> None:
    document = service(
        _="consecutive",
        _max_failures="3",
        _min_penalty="250ms",
        _max_penalty="2m",
        _jitter_ratio="0.25",
    )

    assert accrual(document) == FailureAccrual(
        max_failures=3, min_penalty=0.25, max_penalty=120.0, jitter_ratio=0.25
    )


def test_no_failures_means_no_breaker() -> None:
    assert accrual(service(_="consecutive", _max_failures="0")) is None


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("_", "unified", "expected one of consecutive, not 'unified'"),
        ("_max_failures", "7.5", "a whole number up to 1000000"),
        ("_max_failures", "-1", "a whole number"),
        ("_min_penalty", "1.5s", "a number and ms, s, m, h or d"),
        ("_min_penalty", "-1s", "a number and ms"),
        ("_min_penalty", "10", "a number and ms"),
        ("_min_penalty", "0", "a duration above 0"),
        ("_max_penalty", "999ms", "at least min-penalty, 1s"),
        ("_jitter_ratio", "101", "a number from 0 to 100"),
        ("_jitter_ratio", "some", "a number from 0 to 100"),
        ("_jitter_ratio", "nan", "a number from 0 to 100"),
    ],
)
def test_a_mistake_is_told_with_its_annotation(name: str, value: str, words: str) -> None:
    reading = read(service(**{"_": "consecutive", name: value}))

    key = PREFIX if name == "_" else MORE + name.strip("_").replace("_", "-")
    told = {spell(path): text for path, text in reading.mistakes.items()}
    assert words in told[f"metadata.annotations[{key}]"]


def test_the_documents_of_a_service_and_its_slices_carry_it_to_the_proxies() -> None:
    rules = FailureAccrual(max_failures=3)
    web = res.Service(namespace="shop", name="web", ports=(res.Port(80),), failure_accrual=rules)
    place = res.SliceEndpoint(address="10.0.0.1", zone="eu-1", for_zones=("eu-1", "eu-2"))
    part = res.EndpointSlice(
        namespace="shop", name="web-x", service="web", family=4, endpoints=(place,)
    )
    index, name = Index(), ServiceName("shop", "web")
    index.apply(res.Put(web))
    index.apply(res.Put(part))

    document, endpoints = answer(index, ServiceKey(name)), answer(index, SliceKey(name, "web-x"))

    assert isinstance(document, ServiceDocument)
    assert document.failure_accrual == rules
    assert isinstance(endpoints, EndpointSlice)
    assert endpoints.endpoints[0].for_zones == ("eu-1", "eu-2")
    changed = msgspec.structs.replace(web, failure_accrual=None)
    assert ServiceKey(name) in index.apply(res.Put(changed))


def test_a_slices_hints_are_read() -> None:
    document = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web-x", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": ["10.0.0.1"],
                "hints": {"forZones": [{"name": "eu-1"}, {"name": "eu-2"}]},
            },
            {"addresses": ["10.0.0.2"]},
        ],
    }

    reading = read(document)

    assert reading.mistakes == {}
    ((_, found),) = reading.resources
    assert isinstance(found, res.EndpointSlice)
    assert [e.for_zones for e in found.endpoints] == [("eu-1", "eu-2"), ()]
