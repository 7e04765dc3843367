"""Names: what is printed can be read again, and no two of them share a token of a subject."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidName
from common.names import Identity, ServiceName, WorkloadName, ip_token, token

labels = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
subdomains = st.lists(labels, min_size=1, max_size=3).map(".".join)


@given(labels, labels)
def test_a_service_name_that_is_printed_can_be_read_again(namespace: str, name: str) -> None:
    service = ServiceName(namespace, name)

    assert ServiceName.parse(str(service)) == service


@given(labels, subdomains)
def test_a_workload_name_that_is_printed_can_be_read_again(namespace: str, name: str) -> None:
    workload = WorkloadName(namespace, name)

    assert WorkloadName.parse(str(workload)) == workload


@given(labels, subdomains, subdomains)
def test_an_identity_that_is_printed_can_be_read_again(
    namespace: str, account: str, domain: str
) -> None:
    identity = Identity(namespace, account, domain)

    assert Identity.parse(identity.uri) == identity


@given(subdomains, subdomains)
def test_different_names_never_share_a_token(one: str, other: str) -> None:
    assert (token(one) == token(other)) == (one == other)
    assert not set(token(one)) & set(".*> ")


@given(st.ip_addresses(), st.ip_addresses())
def test_different_addresses_never_share_a_token(one: object, other: object) -> None:
    assert (ip_token(str(one)) == ip_token(str(other))) == (one == other)
    assert not set(ip_token(str(one))) & set(".*> :")


def test_every_way_to_write_an_address_is_one_token() -> None:
    assert ip_token("10.0.0.1") == "10-0-0-1"
    assert ip_token("::1") == ip_token("0:0:0:0:0:0:0:1")


def test_an_identity_as_people_see_it() -> None:
    identity = Identity("shop", "web")

    assert str(identity) == "spiffe://cluster.local/ns/shop/sa/web"
    assert identity.dns_name == "web.shop.serviceaccount.identity.tulle.cluster.local"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://cluster.local/ns/shop/sa/",
        "spiffe://cluster.local/ns/shop/sa/web/more",
        "spiffe://cluster.local/ns/shop",
        "spiffe:///ns/shop/sa/web",
        "https://cluster.local/ns/shop/sa/web",
        "spiffe://cluster.local/ns/sh.op/sa/web",
        "spiffe://cluster.local/ns/shop/sa/Web",
        "spiffe://cluster.local/ns/shop/sa/web\n",
        "spiffe://cluster.local:8443/ns/shop/sa/web",
        "spiffe://cluster.local/ns/*/sa/web",
    ],
)
def test_what_is_no_identity_is_refused(uri: str) -> None:
    with pytest.raises(InvalidName):
        Identity.parse(uri)


@pytest.mark.parametrize("name", ["", "web", ".shop", "web.", "web.shop.svc", "we>b.shop", "a.b\n"])
def test_what_is_no_service_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        ServiceName.parse(name)


@pytest.mark.parametrize("name", ["", "web", "shop/", "/web", "shop/w eb", "shop/a..b", "a/b/c"])
def test_what_is_no_workload_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        WorkloadName.parse(name)


@pytest.mark.parametrize("address", ["", "10.0.0", "web", "10.0.0.1 ", "10.0.0.1/8"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidName, match="expected an IPv4 or IPv6 address"):
        ip_token(address)
