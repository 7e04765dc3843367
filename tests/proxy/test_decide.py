"""Decisions as tables: which service a name means, who may in, how a no is said."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.contract.discovery import DefaultPolicy
from common.errors import BusUnavailable, MeshError
from common.names import Identity, ServiceName
from proxy import refusals
from proxy.codec.heads import BadMessage, RequestHead
from proxy.decide.answer import answer
from proxy.decide.authorize import authorize
from proxy.decide.route import service_named, split_authority

WEB = Identity(namespace="shop", service_account="web")


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        (b"books", ("books", 80)),
        (b"books:8000", ("books", 8000)),
        (b"Books.SHOP:8000", ("books.shop", 8000)),
        (b"books.:8000", ("books", 8000)),
        (b"10.0.0.1:1", ("10.0.0.1", 1)),
        (b"[::1]", ("::1", 80)),
        (b"[FD00::1]:65535", ("fd00::1", 65535)),
        (b"books:", ("books", 80)),
        (b"", None),
        (b":80", None),
        (b"books:0", None),
        (b"books:65536", None),
        (b"books:123456", None),
        (b"books:-1", None),
        (b"books:8o", None),
        (b"books:80:80", None),
        (b"[::1", None),
        (b"::1", None),
        (b"[]:80", None),
        (b".:80", None),
    ],
)
def test_an_authority_is_split(authority: bytes, expected: tuple[str, int] | None) -> None:
    assert split_authority(authority, 80) == expected


@given(st.binary(max_size=30))
def test_any_bytes_are_an_authority_or_none(authority: bytes) -> None:
    split = split_authority(authority, 80)

    assert split is None or (split[0] and 0 < split[1] < 65536)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("books", "books.shop"),
        ("books.library", "books.library"),
        ("books.library.svc", "books.library"),
        ("books.library.svc.cluster.local", "books.library"),
        ("books.svc", "books.shop"),
        ("books.library.cluster.local", "books.library"),
        ("a.b.c", None),
        ("books.library.svc.other.domain", None),
        ("www.example.com", None),
        ("example.com", "example.com"),
        ("10.0.0.1", None),
        ("127.1", None),
        ("::1", None),
        ("fd00::1", None),
        ("", None),
        (".", None),
        ("books..svc", None),
        ("bo_oks", None),
        ("-books", None),
        ("a" * 64, None),
        ("localhost", "localhost.shop"),
    ],
)
def test_a_host_means_a_service_by_the_search_path_of_kubernetes(
    host: str, expected: str | None
) -> None:
    found = service_named(host, "shop", "cluster.local")

    assert found == (ServiceName.parse(expected) if expected else None)


@given(st.text(max_size=30))
def test_any_text_is_a_service_or_none(host: str) -> None:
    service_named(host, "shop", "cluster.local")


@pytest.mark.parametrize(
    ("policy", "client", "address", "allowed"),
    [
        ("all-unauthenticated", None, "10.0.0.1", True),
        ("all-unauthenticated", WEB, "10.0.0.1", True),
        ("all-authenticated", WEB, "10.0.0.1", True),
        ("all-authenticated", None, "10.0.0.1", False),
        ("deny", None, "10.0.0.1", False),
        ("deny", WEB, "10.0.0.1", False),
        ("deny", None, "127.0.0.1", True),
        ("deny", None, "127.7.7.7", True),
        ("deny", None, "::1", True),
        ("deny", None, "12.7.0.1", False),
        ("deny", None, "::1:2", False),
        ("deny", None, "1270::1", False),
        ("a policy from the future", WEB, "10.0.0.1", False),
    ],
)
def test_the_default_policy_lets_in_whom_it_says(
    policy: DefaultPolicy, client: Identity | None, address: str, allowed: bool
) -> None:
    refusal = authorize(policy, client, address)

    assert (refusal is None) is allowed
    if refusal is not None:
        assert str(client or address) in str(refusal)


ANSWERS = {
    # word: (HTTP, gRPC), as the design's table of refusals says
    "refused-by-proxy": (500, 13),
    "no-endpoints": (504, 4),
    "timeout": (504, 4),
    "connect-failed": (502, 14),
    "tls-failed": (502, 14),
    "response-lost": (502, 14),
    "response-reset": (502, 14),
    "not-processed": (502, 14),
    "bad-response": (502, 14),
    "unauthorized": (403, 7),
    "no-identity": (502, 14),
    "no-route": (404, 5),
    "loop": (508, 10),
    "overloaded": (503, 14),
    "shut-down": (503, 14),
    "client-gone": (499, 1),
}


def all_refusals(kind: type[refusals.Refusal] = refusals.Refusal) -> list[type[refusals.Refusal]]:
    return [kind, *(found for sub in kind.__subclasses__() for found in all_refusals(sub))]


@pytest.mark.parametrize("kind", all_refusals(), ids=lambda kind: kind.reason)
def test_every_refusal_is_answered_with_its_statuses_and_its_word(
    kind: type[refusals.Refusal],
) -> None:
    error = kind.__new__(kind)
    http, grpc = ANSWERS[kind.reason]

    plain = answer(RequestHead(b"GET", b"/", b"a", []), error)
    assert plain.status == http
    assert plain.headers == [(b"content-length", b"0"), (b"tulle-error", kind.reason.encode())]

    called = answer(grpc_request(), error)
    assert called.status == 200
    assert called.get(b"grpc-status") == b"%d" % grpc
    assert called.get(b"grpc-message") == called.get(b"tulle-error") == kind.reason.encode()
    assert called.get(b"content-type") == b"application/grpc"
    assert called.get(b"content-length") == b"0"


def test_no_refusal_is_missing_or_doubled() -> None:
    words = [kind.reason for kind in all_refusals()]

    assert sorted(words) == sorted(ANSWERS)
    assert all(re.fullmatch(r"[a-z0-9-]+", word) for word in words)


def test_every_status_of_a_refusal_is_one_that_http_and_grpc_know() -> None:
    assert all(400 <= kind.http < 600 and 1 <= kind.grpc <= 16 for kind in all_refusals())


def test_what_is_not_http_is_answered_with_the_rule_that_it_broke() -> None:
    assert answer(None, BadMessage("two-hosts")).status == 400
    assert answer(None, BadMessage("head-too-long", 431)).status == 431
    assert answer(None, BadMessage("two-hosts")).get(b"tulle-error") == b"two-hosts"
    assert answer(grpc_request(), BadMessage("bad-chunk-end")).get(b"grpc-status") == b"13"


def test_every_word_for_bad_messages_can_be_written_into_a_field() -> None:
    words = set()
    for path in Path("proxy").rglob("*.py"):
        words |= set(re.findall(r'BadMessage\("([^"]*)"', path.read_text()))

    assert len(words) > 10
    assert all(re.fullmatch(r"[a-z0-9.-]+", word) for word in words)


def test_other_errors_of_the_mesh_are_a_500() -> None:
    head = answer(None, BusUnavailable("x"))

    assert (head.status, head.get(b"tulle-error")) == (500, b"bus-unavailable")


def test_an_answer_never_tells_what_is_said_inside() -> None:
    error: MeshError = refusals.ConnectFailed("10.1.2.3:8080: secret\r\nx: y")

    for request in (None, grpc_request()):
        assert all(b"secret" not in value for _, value in answer(request, error).headers)


def grpc_request() -> RequestHead:
    return RequestHead(b"POST", b"/a.B/C", b"a", [(b"content-type", b"application/grpc+proto")])
