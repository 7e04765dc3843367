"""Who may shake hands with whom: each way to be wrong, shown by a server and by a client.

The other end is always as it should be, with the contexts that proxies use.
"""

import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID

from common.names import Identity, WorkloadName
from common.x509 import (
    bus_context,
    chain_pem,
    client_context,
    generate_key,
    key_pem,
    peer_identity,
    server_context,
)
from common.x509.certificates import subject, subject_names
from services.identity.roots import Pair, authority_key, key_usage, make_issuer, make_server
from tests.support.pki import Pki
from tests.support.tls import shake

DAY = 86_400.0
NOW = time.time()
# Issuer and anchor are older than whatever a test wants to be old.
PKI = Pki(NOW - 10 * DAY)
PKI.now = NOW
OTHER = Pki()
BOOKS = Identity("shop", "books")
GOOD = PKI.leaf("books")
ANCHORS = PKI.anchors_pem
USAGE = key_usage(digital_signature=True)
BOTH = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


def pem(pair: Pair) -> bytes:
    """Key and chain, as the contexts take them."""
    return key_pem(pair.key) + chain_pem(pair.chain)


def leaf(
    *,
    begins: float = NOW - 60,
    ends: float = NOW + 3600,
    signer: Pair | None = PKI.issuer,
    ca: bool = False,
    usage: x509.KeyUsage | None = USAGE,
    extended: x509.ExtendedKeyUsage | None = BOTH,
    names: x509.SubjectAlternativeName | None = None,
    without: type[x509.ExtensionType] | None = None,
) -> bytes:
    """A leaf of books' with something wrong, which our authority would never sign; None signs itself."""
    key = generate_key()
    issuer = signer.certificate.subject if signer else subject(WorkloadName("shop", "books"))
    builder = x509.CertificateBuilder(
        issuer, subject(WorkloadName("shop", "books")), key.public_key()
    )
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(datetime.fromtimestamp(begins, UTC))
    builder = builder.not_valid_after(datetime.fromtimestamp(ends, UTC))
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    above = authority_key(signer.certificate) if signer else _named(own)
    wanted: list[tuple[x509.ExtensionType | None, bool]] = [
        (x509.BasicConstraints(ca=ca, path_length=None), True),
        (usage, True),
        (extended, False),
        (names or subject_names(BOOKS), False),
        (own, False),
        (above, False),
    ]
    for extension, critical in wanted:
        if extension is not None and not (without and isinstance(extension, without)):
            builder = builder.add_extension(extension, critical)
    made = builder.sign(signer.key if signer else key, SHA256())
    return key_pem(key) + chain_pem((made, *(signer.chain if signer else ())))


def _named(own: x509.SubjectKeyIdentifier) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def of_leaf() -> bytes:
    """Signed by the key of a leaf, which is no CA."""
    return leaf(signer=Pair(GOOD.chain, GOOD.key))


def of_old_issuer() -> bytes:
    """Signed by an issuer that has ended, for longer than that."""
    return leaf(signer=make_issuer(PKI.anchor, "cluster.local", NOW - 5 * DAY, DAY))


def of_namesake() -> bytes:
    """Signed by an issuer that is called like ours, with the chain of ours."""
    return leaf(signer=Pair(PKI.issuer.chain, ec.generate_private_key(ec.SECP256R1())))


WRONG: dict[str, tuple[Callable[[], bytes], str]] = {
    "expired": (lambda: leaf(begins=NOW - 7200, ends=NOW - 3600), "expired"),
    "not yet valid": (lambda: leaf(begins=NOW + 3600, ends=NOW + 7200), "not yet valid"),
    "of another anchor": (lambda: OTHER.leaf("books").pem, "get local issuer|unable to"),
    "self-signed": (lambda: leaf(signer=None), "self.signed"),
    "a CA as leaf": (lambda: pem(PKI.issuer), "purpose|CA|usage"),
    "an anchor as leaf": (lambda: pem(PKI.anchor), "purpose|CA|usage"),
    "signed by a leaf": (of_leaf, "invalid CA|purpose|CA"),
    "signed by an ended issuer": (of_old_issuer, "expired"),
    "signed by a namesake": (of_namesake, "signature"),
    "without its issuer": (lambda: key_pem(GOOD.key) + chain_pem(GOOD.chain[:1]), "local issuer"),
    "may not sign": (lambda: leaf(usage=key_usage(signs_certificates=True)), "purpose|usage"),
    "without the signer's key": (
        lambda: leaf(without=x509.AuthorityKeyIdentifier),
        "(?i)authority key identifier",
    ),
    "for code": (
        lambda: leaf(extended=x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])),
        "purpose",
    ),
}


def as_server(held: bytes) -> ssl.SSLContext:
    return server_context(held, ANCHORS)


def as_client(held: bytes) -> ssl.SSLContext:
    return client_context(held, ANCHORS)


def test_whoever_is_right_is_known_at_both_ends() -> None:
    client, server = shake(as_client(leaf()), as_server(leaf()), BOOKS.dns_name)

    assert peer_identity(client) == peer_identity(server) == BOOKS


@pytest.mark.parametrize("what", WRONG)
def test_a_server_that_shows_something_wrong_is_not_spoken_to(what: str) -> None:
    make, says = WRONG[what]

    with pytest.raises(ssl.SSLCertVerificationError, match=says):
        shake(as_client(GOOD.pem), as_server(make()), BOOKS.dns_name)


def refused_by_server(client: ssl.SSLContext, server: ssl.SSLContext) -> ssl.SSLError:
    """The server's own complaint: in TLS 1.3 the client has finished before the server looks."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=BOOKS.dns_name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for step in (ours, theirs, ours):
        try:
            step.do_handshake()
        except ssl.SSLWantReadError:
            continue
    with pytest.raises(ssl.SSLError) as complaint:
        theirs.do_handshake()
    return complaint.value


@pytest.mark.parametrize("what", WRONG)
def test_a_client_that_shows_something_wrong_is_not_let_in(what: str) -> None:
    make, says = WRONG[what]

    complaint = refused_by_server(as_client(make()), as_server(GOOD.pem))

    assert isinstance(complaint, ssl.SSLCertVerificationError)
    with pytest.raises(ssl.SSLCertVerificationError, match=says):
        raise complaint


def test_a_client_without_a_certificate_is_not_let_in() -> None:
    complaint = refused_by_server(bus_context(ANCHORS), as_server(GOOD.pem))

    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in str(complaint)


@pytest.mark.parametrize("account", ["books2", "book", "web"])
def test_a_server_with_another_name_is_not_spoken_to(account: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake(as_client(GOOD.pem), as_server(PKI.leaf(account).pem), BOOKS.dns_name)


def test_a_name_in_the_subject_only_counts_for_nothing() -> None:
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(BOOKS.uri)])

    with pytest.raises(ssl.SSLCertVerificationError, match=r"mismatch|not valid for"):
        shake(as_client(GOOD.pem), as_server(leaf(names=names)), BOOKS.dns_name)


@pytest.mark.parametrize(
    "held",
    [
        pem(make_server(PKI.issuer, ["nats.example"], NOW)),
        leaf(names=x509.SubjectAlternativeName([x509.DNSName(BOOKS.dns_name)])),
        leaf(
            names=x509.SubjectAlternativeName(
                [*subject_names(BOOKS), x509.UniformResourceIdentifier("spiffe://x/ns/a/sa/b")]
            )
        ),
        leaf(ca=True, usage=key_usage(digital_signature=True, signs_certificates=True)),
    ],
    ids=["of NATS", "without a SPIFFE ID", "with two SPIFFE IDs", "a CA with a leaf's names"],
)
def test_a_client_whose_certificate_is_no_svid_is_nobody(held: bytes) -> None:
    try:
        _, server = shake(as_client(held), as_server(GOOD.pem), BOOKS.dns_name)
    except ssl.SSLError:
        return
    assert peer_identity(server) is None


@pytest.mark.parametrize("old", ["client", "server"])
def test_tls_1_2_is_not_spoken(old: str) -> None:
    contexts = {"client": as_client(GOOD.pem), "server": as_server(GOOD.pem)}
    contexts[old].minimum_version = ssl.TLSVersion.TLSv1_2
    contexts[old].maximum_version = ssl.TLSVersion.TLSv1_2

    with pytest.raises(ssl.SSLError, match=r"(?i)protocol|version"):
        shake(contexts["client"], contexts["server"], BOOKS.dns_name)


def test_no_session_is_resumed_by_whoever_wants_to_come_back_as_another(tmp_path: Path) -> None:
    # A client that would like to: its own context asks for tickets, and offers what it has.
    eager = as_client(PKI.leaf("web").pem)
    eager.options &= ~ssl.OP_NO_TICKET
    server = as_server(GOOD.pem)
    first, theirs = shake(eager, server, BOOKS.dns_name)
    assert peer_identity(theirs) == Identity("shop", "web")

    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    (tmp_path / "authors").write_bytes(PKI.leaf("authors").pem)
    eager.load_cert_chain(tmp_path / "authors")
    again = eager.wrap_bio(
        to_client, to_server, server_hostname=BOOKS.dns_name, session=first.session
    )
    accepted = server.wrap_bio(to_server, to_client, server_side=True)
    for step in (again, accepted, again, accepted):
        try:
            step.do_handshake()
        except ssl.SSLWantReadError:
            continue

    assert not again.session_reused
    assert not accepted.session_reused
    assert first.session is None or not first.session.has_ticket
    assert peer_identity(accepted) == Identity("shop", "authors")
