"""The authority: who asks gets a leaf of their own, and nothing else."""

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidCertificate
from common.names import Identity, WorkloadName
from common.x509 import chain_pem, generate_key, load_der, signing_request
from services.identity.authority import Authority, check_request
from services.identity.roots import make_anchor, make_issuer, make_server

NOW = 1_700_000_000.4
WEB = Identity("shop", "web")
WEB_1 = WorkloadName("shop", "web-1")
ANCHOR = make_anchor("cluster.local", NOW)
ISSUER = make_issuer(ANCHOR, "cluster.local", NOW)
KEY = generate_key()
HONEST = signing_request(WEB, WEB_1, KEY)
ANY_KEY = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def issue(csr: bytes = HONEST, now: float = NOW, seconds: float = 86_400) -> x509.Certificate:
    return load_der(Authority(ISSUER, seconds).certify(csr, WEB, WEB_1, now).chain[0])


def test_a_leaf_names_its_workload_and_lives_a_day() -> None:
    leaf = issue()

    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [
        x509.UniformResourceIdentifier("spiffe://cluster.local/ns/shop/sa/web"),
        x509.DNSName("web.shop.serviceaccount.identity.tulle.cluster.local"),
    ]
    assert leaf.subject.rfc4514_string() == "UID=web-1"
    assert leaf.not_valid_before_utc.timestamp() == int(NOW - 20)
    assert leaf.not_valid_after_utc.timestamp() == int(NOW + 86_400)
    assert leaf.public_key() == KEY.public_key()


def test_a_leaf_may_sign_handshakes_and_nothing_else() -> None:
    extensions = issue().extensions

    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    # RFC 5280 §4.2.1.1 and §4.2.1.2: how a verifier finds the way from a leaf to its issuer.
    assert extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    assert extensions.get_extension_for_class(x509.SubjectKeyIdentifier)


def test_serials_are_random() -> None:
    serials = {issue().serial_number for _ in range(8)}

    assert len(serials) == 8
    assert max(serial.bit_length() for serial in serials) > 128


def test_a_leaf_never_outlives_its_issuer() -> None:
    ends = ISSUER.certificate.not_valid_after_utc

    assert issue(now=ends.timestamp() - 3600).not_valid_after_utc == ends
    with pytest.raises(InvalidCertificate, match="issuer: has expired"):
        issue(now=ends.timestamp() - 0.5)


def test_an_issuer_never_outlives_its_anchor() -> None:
    late = ANCHOR.certificate.not_valid_after_utc.timestamp() - 60
    issuer = make_issuer(ANCHOR, "cluster.local", late)

    assert issuer.certificate.not_valid_after_utc == ANCHOR.certificate.not_valid_after_utc


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl command")
def test_openssl_verifies_strictly_what_was_signed(tmp_path: Path) -> None:
    files = {"anchor": ANCHOR.chain, "issuer": ISSUER.chain, "leaf": (issue(),)}
    files["nats"] = make_server(ISSUER, ["nats.example", "127.0.0.1", "::1"], NOW).chain[:1]
    for name, chain in files.items():
        (tmp_path / name).write_bytes(chain_pem(chain))
    verify = ["openssl", "verify", "-x509_strict", "-attime", str(int(NOW)), "-CAfile", "anchor"]

    for purpose, name, options in (
        ("sslserver", "leaf", ["-verify_hostname", WEB.dns_name]),
        ("sslclient", "leaf", []),
        ("sslserver", "nats", ["-verify_ip", "127.0.0.1"]),
    ):
        more = ["-purpose", purpose, *options, "-untrusted", "issuer", name]
        done = subprocess.run([*verify, *more], cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, f"{name}: OK\n"), done.stderr


def ask(
    *,
    key: ANY_KEY = KEY,
    subject: str | None = "web-1",
    names: tuple[x509.GeneralName, ...] = (x509.UniformResourceIdentifier(WEB.uri),),
    more: tuple[x509.ExtensionType, ...] = (),
    common_name: str = "",
    password: bytes = b"",
    digest: SHA256 | SHA384 | None = None,
) -> bytes:
    pairs = [(NameOID.USER_ID, subject), (NameOID.COMMON_NAME, common_name)]
    name = x509.Name([x509.NameAttribute(oid, text) for oid, text in pairs if text])
    builder = x509.CertificateSigningRequestBuilder(name)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension in more:
        builder = builder.add_extension(extension, critical=False)
    if password:
        builder = builder.add_attribute(x509.ObjectIdentifier("1.2.840.113549.1.9.7"), password)
    return builder.sign(key, digest or SHA256()).public_bytes(Encoding.DER)


URI = x509.UniformResourceIdentifier


@pytest.mark.parametrize(
    "csr",
    [
        HONEST,
        ask(),
        ask(subject=None),
        ask(names=(x509.DNSName(WEB.dns_name), URI(WEB.uri))),
        ask(more=(x509.BasicConstraints(ca=False, path_length=None),)),
    ],
)
def test_an_honest_request_is_signed(csr: bytes) -> None:
    issue(csr)


@pytest.mark.parametrize(
    ("csr", "says"),
    [
        (b"", "expected PKCS#10 in DER"),
        (b"hello", "expected PKCS#10 in DER"),
        (HONEST[:9] + b"\1" + HONEST[10:], "1 is not a valid CSR version"),
        (HONEST + b"\0", "expected PKCS#10 in DER"),
        (b"\0" * 5000, "5000 bytes; expected 4096 at most"),
        (HONEST[:-1] + bytes([HONEST[-1] ^ 1]), "does not match the key"),
        (ask(key=ec.generate_private_key(ec.SECP384R1())), "key: expected ECDSA on P-256"),
        (ask(key=ec.generate_private_key(ec.SECP256K1())), "key: expected ECDSA on P-256"),
        (ask(key=rsa.generate_private_key(65537, 2048)), "key: expected ECDSA on P-256"),
        (ask(digest=SHA384()), "expected ECDSA with SHA-256"),
        (ask(subject="web-2"), "subject: 'UID=web-2'; expected UID=web-1"),
        (ask(common_name="admin"), "subject: 'CN=admin,UID=web-1'; expected UID=web-1"),
        (ask(names=()), "names: expected spiffe://cluster.local/ns/shop/sa/web once"),
        (ask(names=(x509.DNSName(WEB.dns_name),)), "names: expected spiffe"),
        (ask(names=(URI(WEB.uri), URI(WEB.uri))), "once"),
        (ask(names=(URI("spiffe://cluster.local/ns/shop/sa/books"),)), "sa/books'"),
        (ask(names=(URI(WEB.uri + "/"),)), "sa/web/'"),
        (ask(names=(URI(WEB.uri), URI("spiffe://other/ns/shop/sa/web"))), "spiffe://other"),
        (ask(names=(URI(WEB.uri), x509.DNSName("nats.example"))), "name 'nats.example'"),
        (ask(names=(URI(WEB.uri), x509.DNSName("*." + WEB.dns_name))), r"name '\*\."),
        (ask(names=(URI(WEB.uri), x509.RFC822Name("a@b.example"))), "name 'a@b.example'"),
        (ask(more=(x509.BasicConstraints(ca=True, path_length=None),)), "a CA; expected none"),
        (ask(more=(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),)), "2.5.29.37"),
        (ask(more=(x509.TLSFeature([x509.TLSFeatureType.status_request]),)), "not allowed"),
        (ask(password=b"secret"), "attribute 1.2.840.113549.1.9.7: not allowed"),
    ],
)
def test_a_request_for_anything_more_is_refused_with_the_field(csr: bytes, says: str) -> None:
    with pytest.raises(InvalidCertificate, match=says):
        issue(csr)


@settings(max_examples=300)
@given(at=st.integers(0, len(HONEST) - 1), put=st.integers(1, 255))
def test_nothing_but_what_was_signed_by_the_key_is_accepted(at: int, put: int) -> None:
    changed = bytearray(HONEST)
    changed[at] ^= put

    try:
        check_request(bytes(changed), WEB, WEB_1)
    except InvalidCertificate:
        return
    # How many bits of the signature's last byte are unused may be said in several ways.
    signed = x509.load_der_x509_csr(HONEST).tbs_certrequest_bytes
    assert x509.load_der_x509_csr(bytes(changed)).tbs_certrequest_bytes == signed


@given(st.binary(max_size=300))
def test_any_bytes_at_all_are_refused_politely(csr: bytes) -> None:
    with pytest.raises(InvalidCertificate):
        check_request(csr, WEB, WEB_1)


@pytest.mark.parametrize("account", ["a" * 64, ".".join(["a" * 60] * 4)])
def test_an_identity_that_no_handshake_could_name_is_refused(account: str) -> None:
    long = Identity("shop", account)

    with pytest.raises(InvalidCertificate, match="too long for a DNS name"):
        check_request(signing_request(long, WEB_1, KEY), long, WEB_1)
