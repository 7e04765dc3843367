"""What the authority signs, against the rules: SPIFFE X.509-SVID, RFC 5280, and OpenSSL at its strictest."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from common.names import Identity, WorkloadName
from common.x509 import (
    bus_context,
    chain_pem,
    client_context,
    generate_key,
    key_pem,
    server_context,
    signing_request,
)
from services.identity.authority import Authority, Issued
from services.identity.roots import Pair
from tests.support.pki import Pki
from tests.support.tls import shake

PKI = Pki()
WEB = Identity("shop", "web")
WEB_1 = WorkloadName("shop", "web-1")
LEAF = PKI.leaf("web", "web-1")
(ISSUER,) = PKI.issuer.chain
(ANCHOR,) = PKI.anchor.chain


def value(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> x509.ExtensionType:
    return certificate.extensions.get_extension_for_class(kind).value


def is_critical(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> bool:
    return certificate.extensions.get_extension_for_class(kind).critical


def usages(certificate: x509.Certificate) -> set[str]:
    found = value(certificate, x509.KeyUsage)
    assert isinstance(found, x509.KeyUsage)
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
    more = ("key_agreement", "key_cert_sign", "crl_sign")
    return {name for name in (*names, *more) if getattr(found, name)}


def uris(certificate: x509.Certificate) -> list[str]:
    try:
        found = value(certificate, x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    assert isinstance(found, x509.SubjectAlternativeName)
    return found.get_values_for_type(x509.UniformResourceIdentifier)


def test_a_leaf_is_an_svid() -> None:
    leaf = LEAF.chain[0]

    # X.509-SVID §2: one URI, the SPIFFE ID; SPIFFE-ID §2: with a path, 2,048 bytes at most, ASCII.
    assert uris(leaf) == [WEB.uri] == ["spiffe://cluster.local/ns/shop/sa/web"]
    # §4.1: a leaf is no CA; §4.2: it is marked critical that it may sign, and no certificates or lists.
    constraints = value(leaf, x509.BasicConstraints)
    assert isinstance(constraints, x509.BasicConstraints)
    assert not constraints.ca
    assert is_critical(leaf, x509.KeyUsage)
    assert usages(leaf) == {"digital_signature"}
    # §4.3: for both ends of a handshake.
    assert set(value(leaf, x509.ExtendedKeyUsage)) == {  # type: ignore[call-overload]
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    assert is_critical(leaf, x509.BasicConstraints)


@pytest.mark.parametrize("authority", [ISSUER, ANCHOR])
def test_what_signs_is_a_ca_and_no_workload(authority: x509.Certificate) -> None:
    constraints = value(authority, x509.BasicConstraints)

    assert isinstance(constraints, x509.BasicConstraints)
    assert constraints.ca
    # An issuer makes no issuers; how many may stand below an anchor is bounded as well.
    assert constraints.path_length == 0 or authority is ANCHOR
    assert constraints.path_length is not None
    assert is_critical(authority, x509.BasicConstraints)
    # X.509-SVID §3.2 and §4.2: the SPIFFE ID of a signing certificate, if any, has no path.
    assert uris(authority) == []
    assert usages(authority) == {"key_cert_sign", "crl_sign"}
    assert is_critical(authority, x509.KeyUsage)


@pytest.mark.parametrize(("certificate", "signer"), [(LEAF.chain[0], ISSUER), (ISSUER, ANCHOR)])
def test_each_names_its_key_and_the_one_that_signed_it(
    certificate: x509.Certificate, signer: x509.Certificate
) -> None:
    # RFC 5280 §4.2.1.1 and §4.2.1.2, which VERIFY_X509_STRICT demands.
    own = value(signer, x509.SubjectKeyIdentifier)
    named = value(certificate, x509.AuthorityKeyIdentifier)

    assert isinstance(own, x509.SubjectKeyIdentifier)
    assert isinstance(named, x509.AuthorityKeyIdentifier)
    assert named.key_identifier == own.digest
    assert value(certificate, x509.SubjectKeyIdentifier)
    assert certificate.issuer == signer.subject
    certificate.verify_directly_issued_by(signer)


@pytest.mark.parametrize("certificate", [LEAF.chain[0], ISSUER, ANCHOR])
def test_each_is_of_the_form_that_rfc_5280_asks_for(certificate: x509.Certificate) -> None:
    assert certificate.version is x509.Version.v3
    # §4.1.2.2: positive, 20 octets at most.
    assert 0 < certificate.serial_number < 2**159
    # §4.1.2.6: of one that signs, the subject is not empty.
    assert certificate.subject.rfc4514_string()
    identifiers = [extension.oid for extension in certificate.extensions]
    assert len(identifiers) == len(set(identifiers))
    parsed = x509.load_der_x509_certificate(certificate.public_bytes(Encoding.DER))
    assert parsed == certificate


@pytest.mark.parametrize(
    "context",
    [
        client_context(LEAF.pem, PKI.anchors_pem),
        server_context(LEAF.pem, PKI.anchors_pem),
        bus_context(PKI.anchors_pem),
    ],
)
def test_every_context_verifies_strictly_and_speaks_tls_1_3_only(context: ssl.SSLContext) -> None:
    assert context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert context.options & ssl.OP_NO_TICKET


def test_a_leaf_passes_a_strict_handshake_of_plain_ssl(tmp_path: Path) -> None:
    (tmp_path / "held").write_bytes(LEAF.pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "held")
    client = ssl.create_default_context(cadata=PKI.anchors_pem)
    client.verify_flags |= ssl.VERIFY_X509_STRICT

    shake(client, server, WEB.dns_name)


def openssl(*arguments: str, cwd: Path) -> str:
    """What OpenSSL's command line prints; AssertionError with its complaint if it fails."""
    done = subprocess.run(["openssl", *arguments], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


needs_openssl = pytest.mark.skipif(
    not shutil.which("openssl"), reason="there is no openssl command"
)


@needs_openssl
def test_openssl_understands_our_requests_and_our_certificates(tmp_path: Path) -> None:
    csr = signing_request(WEB, WEB_1, LEAF.key)
    (tmp_path / "csr").write_bytes(csr)
    (tmp_path / "leaf").write_bytes(LEAF.chain[0].public_bytes(Encoding.DER))

    assert "OK" in openssl("req", "-inform", "DER", "-in", "csr", "-verify", "-noout", cwd=tmp_path)
    text = openssl("x509", "-inform", "DER", "-in", "leaf", "-noout", "-text", cwd=tmp_path)
    assert "URI:spiffe://cluster.local/ns/shop/sa/web" in text
    assert "DNS:web.shop.serviceaccount.identity.tulle.cluster.local" in text
    assert "CA:FALSE" in text
    assert "ASN1 OID: prime256v1" in text
    assert "Signature Algorithm: ecdsa-with-SHA256" in text


@needs_openssl
def test_a_request_that_openssl_made_is_signed_and_openssl_verifies_it(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(key_pem(generate_key()))
    names = f"subjectAltName=URI:{WEB.uri},DNS:{WEB.dns_name}"
    request = ("req", "-new", "-key", "key", "-subj", "/UID=web-1", "-addext", names)
    openssl(*request, "-outform", "DER", "-out", "csr", cwd=tmp_path)

    issued = Authority(PKI.issuer).certify((tmp_path / "csr").read_bytes(), WEB, WEB_1, PKI.now)

    _write(tmp_path, issued)
    verify = ("verify", "-x509_strict", "-CAfile", "anchors", "-untrusted", "issuer")
    for purpose in ("sslserver", "sslclient"):
        assert "leaf: OK" in openssl(*verify, "-purpose", purpose, "leaf", cwd=tmp_path)


@needs_openssl
@pytest.mark.parametrize(
    "signer", [Pair(LEAF.chain, LEAF.key), Pki().issuer], ids=["leaf", "other"]
)
def test_openssl_does_not_believe_what_a_leaf_or_another_issuer_signed(
    tmp_path: Path, signer: Pair
) -> None:
    csr = signing_request(WEB, WEB_1, LEAF.key)
    forged = Authority(signer).certify(csr, WEB, WEB_1, PKI.now)

    _write(tmp_path, forged)
    verify = ["openssl", "verify", "-x509_strict", "-CAfile", "anchors", "-untrusted", "issuer"]
    done = subprocess.run([*verify, "leaf"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0


def _write(folder: Path, issued: Issued) -> None:
    leaf, *above = [x509.load_der_x509_certificate(der) for der in issued.chain]
    (folder / "leaf").write_bytes(chain_pem([leaf]))
    (folder / "issuer").write_bytes(chain_pem(above))
    (folder / "anchors").write_text(PKI.anchors_pem)
