"""Certificates and TLS contexts: who may shake hands with whom."""

import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from common.errors import InvalidCertificate
from common.names import Identity, WorkloadName
from common.x509 import (
    bus_context,
    chain_pem,
    client_context,
    fingerprint,
    generate_key,
    holder,
    key_pem,
    load_certificates,
    load_der,
    load_key,
    load_public_keys,
    moment,
    peer_identity,
    public_pem,
    server_context,
)
from services.identity.roots import Pair, make_server
from tests.support.pki import Leaf, Pki
from tests.support.tls import shake as shake_hands

PKI = Pki()
WEB = PKI.leaf("web", "web-1")
BOOKS = PKI.leaf("books", "books-1")
NAME = Identity("shop", "books")


def shake(
    client: ssl.SSLContext, server: ssl.SSLContext, name: str = NAME.dns_name
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    return shake_hands(client, server, name)


def as_client(leaf: Leaf, pki: Pki = PKI) -> ssl.SSLContext:
    return client_context(leaf.pem, pki.anchors_pem)


def as_server(leaf: Leaf, pki: Pki = PKI) -> ssl.SSLContext:
    return server_context(leaf.pem, pki.anchors_pem)


def test_two_workloads_shake_hands_and_know_each_other() -> None:
    client, server = shake(as_client(WEB), as_server(BOOKS))

    assert peer_identity(client) == Identity("shop", "books")
    assert peer_identity(server) == Identity("shop", "web")
    assert client.version() == "TLSv1.3"
    assert client.selected_alpn_protocol() == server.selected_alpn_protocol() == "tulle/1"


def test_contexts_are_shared_by_many_handshakes_and_no_session_is_resumed() -> None:
    client, server = as_client(WEB), as_server(BOOKS)

    ours, _ = shake(client, server)
    again, _ = shake(client, server)

    assert ours.session is None or not ours.session.has_ticket
    assert not again.session_reused


def test_a_server_with_another_identity_is_not_spoken_to() -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake(as_client(WEB), as_server(PKI.leaf("authors")))


def test_a_server_of_another_mesh_is_not_spoken_to() -> None:
    other = Pki()

    with pytest.raises(ssl.SSLCertVerificationError):
        shake(as_client(WEB), as_server(other.leaf("books"), other))


def test_a_client_of_another_mesh_is_refused() -> None:
    other = Pki()
    stranger = client_context(other.leaf("web").pem, PKI.anchors_pem)

    with pytest.raises(ssl.SSLError):
        shake(stranger, as_server(BOOKS))


def test_a_client_without_a_certificate_is_refused() -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate"):
        shake(bus_context(PKI.anchors_pem), as_server(BOOKS))


def test_a_client_that_shows_a_certificate_signed_by_a_leaf_is_refused() -> None:
    forged = make_server(Pair(BOOKS.chain, BOOKS.key), [NAME.dns_name], time.time())
    stranger = client_context(key_pem(forged.key) + chain_pem(forged.chain), PKI.anchors_pem)

    with pytest.raises(ssl.SSLError):
        shake(stranger, as_server(BOOKS))


def test_a_server_that_shows_the_certificate_of_nats_is_not_a_workload() -> None:
    nats = make_server(PKI.issuer, ["127.0.0.1"], time.time())
    server = server_context(key_pem(nats.key) + chain_pem(nats.chain), PKI.anchors_pem)

    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake(as_client(WEB), server)


@pytest.mark.parametrize(("age", "seconds"), [(7200, 3600), (-3600, 3600)])
def test_a_leaf_out_of_its_time_is_refused_by_both(age: float, seconds: float) -> None:
    pki = Pki(time.time() - 86_400)
    pki.now = time.time() - age
    old, fresh = pki.leaf("books", seconds=seconds), Pki.leaf

    pki.now = time.time()
    with pytest.raises(ssl.SSLCertVerificationError, match=r"expired|not yet valid"):
        shake(as_client(fresh(pki, "web"), pki), as_server(old, pki))
    with pytest.raises(ssl.SSLError):
        shake(as_client(old, pki), as_server(fresh(pki, "books"), pki))


def test_tls_below_1_3_is_refused() -> None:
    old = as_client(WEB)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2

    with pytest.raises(ssl.SSLError, match=r"(?i)protocol|version"):
        shake(old, as_server(BOOKS))


def test_the_bus_is_known_by_its_name(tmp_path: Path) -> None:
    nats = make_server(PKI.issuer, ["127.0.0.1", "nats.example"], time.time())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (tmp_path / "nats.pem").write_bytes(key_pem(nats.key) + chain_pem(nats.chain))
    server.load_cert_chain(tmp_path / "nats.pem")

    shake(bus_context(PKI.anchors_pem), server, "127.0.0.1")
    shake(bus_context(PKI.anchors_pem), server, "nats.example")
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shake(bus_context(PKI.anchors_pem), server, "127.0.0.2")


def test_a_leaf_says_whose_it_is() -> None:
    assert holder(WEB.chain[0]) == (Identity("shop", "web"), WorkloadName("shop", "web-1"))


def test_a_name_longer_than_a_common_name_may_be_fits() -> None:
    name = ".".join(["replica"] * 30)

    assert holder(PKI.leaf("web", name).chain[0])[1] == WorkloadName("shop", name)


@pytest.mark.parametrize("certificate", [*PKI.issuer.chain, *PKI.anchor.chain])
def test_an_authority_is_not_a_workload(certificate: x509.Certificate) -> None:
    with pytest.raises(InvalidCertificate):
        holder(certificate)


def test_life_counts_from_the_signing_on_not_from_the_backdated_beginning() -> None:
    leaf = PKI.leaf("web", seconds=100).chain[0]

    assert moment(leaf, 0) == pytest.approx(PKI.now, abs=1)
    assert moment(leaf, 0.7) == pytest.approx(PKI.now + 70, abs=1)
    assert moment(leaf, 1) == leaf.not_valid_after_utc.timestamp()


@pytest.mark.parametrize(
    "make",
    [
        lambda: load_key(b""),
        lambda: load_key(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        lambda: load_key(_other_key(rsa.generate_private_key(65537, 2048))),
        lambda: load_key(_other_key(ec.generate_private_key(ec.SECP384R1()))),
        lambda: load_public_keys(b""),
        lambda: load_public_keys(b"nothing\n-----END PUBLIC KEY-----"),
        lambda: load_certificates(b"nothing"),
        lambda: load_der(b"nothing"),
        lambda: server_context(b"", PKI.anchors_pem),
        lambda: server_context(WEB.pem, ""),
        lambda: client_context(WEB.pem, "nothing"),
        lambda: client_context(key_pem(WEB.key) + chain_pem(BOOKS.chain), PKI.anchors_pem),
        lambda: bus_context(""),
    ],
)
def test_what_is_malformed_is_named(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidCertificate) as caught:
        make()

    assert str(caught.value).strip()
    assert "BEGIN" not in str(caught.value)


def test_keys_survive_their_files() -> None:
    one, two = generate_key(), generate_key()

    assert key_pem(load_key(key_pem(one))) == key_pem(one)
    both = load_public_keys(public_pem(one.public_key()) + public_pem(two.public_key()))
    assert [fingerprint(k) for k in both] == [fingerprint(k.public_key()) for k in (one, two)]


def _other_key(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
