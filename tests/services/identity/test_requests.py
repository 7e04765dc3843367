"""Signing requests of every kind: whatever is asked, what is signed is what was attested, or nothing."""

from ipaddress import IPv4Address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidCertificate, InvalidName
from common.names import Identity, WorkloadName
from common.x509 import generate_key, holder, load_der, signing_request
from services.identity.authority import Authority
from services.identity.roots import key_usage
from tests.support.pki import Pki

PKI = Pki(1_700_000_000.0)
WEB = Identity("shop", "web")
WEB_1 = WorkloadName("shop", "web-1")
AUTHORITY = Authority(PKI.issuer)
KEYS = (generate_key(), ec.generate_private_key(ec.SECP384R1()))
DIGESTS: tuple[SHA256 | SHA384 | SHA512, ...] = (SHA256(), SHA384(), SHA512())
HONEST = signing_request(WEB, WEB_1, KEYS[0])
EXPECTED = load_der(AUTHORITY.certify(HONEST, WEB, WEB_1, PKI.now).chain[0])

text = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
attributes = st.builds(
    x509.NameAttribute,
    st.sampled_from([NameOID.USER_ID, NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME]),
    st.one_of(st.just("web-1"), text),
)
names = st.one_of(
    st.sampled_from(
        [
            x509.UniformResourceIdentifier(WEB.uri),
            x509.UniformResourceIdentifier("spiffe://cluster.local/ns/shop/sa/books"),
            x509.UniformResourceIdentifier(WEB.uri.upper()),
            x509.DNSName(WEB.dns_name),
            x509.DNSName("*"),
            x509.IPAddress(IPv4Address("127.0.0.1")),
            x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
            x509.DirectoryName(x509.Name([])),
        ]
    ),
    text.map(lambda word: x509.UniformResourceIdentifier(f"spiffe://{word}")),
    text.map(x509.DNSName),
    st.just(x509.RFC822Name("a@b.example")),
)
extensions = st.one_of(
    st.lists(names, min_size=1, max_size=4).map(x509.SubjectAlternativeName),
    st.sampled_from(
        [
            x509.BasicConstraints(ca=False, path_length=None),
            x509.BasicConstraints(ca=True, path_length=None),
            x509.BasicConstraints(ca=True, path_length=0),
            key_usage(digital_signature=True),
            key_usage(signs_certificates=True),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]),
            x509.NameConstraints([x509.DNSName("example.org")], None),
            x509.InhibitAnyPolicy(0),
            x509.OCSPNoCheck(),
            x509.SubjectKeyIdentifier(b"another key"),
        ]
    ),
    st.builds(
        x509.UnrecognizedExtension,
        st.just(x509.ObjectIdentifier("1.2.3.4")),
        st.binary(max_size=20),
    ),
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A well-formed signing request for anything."""
    subject = x509.Name(draw(st.lists(attributes, max_size=3)))
    builder = x509.CertificateSigningRequestBuilder(subject)
    for extension in draw(st.lists(extensions, max_size=4, unique_by=lambda one: one.oid)):
        builder = builder.add_extension(extension, critical=draw(st.booleans()))
    if draw(st.booleans()):
        challenge = x509.ObjectIdentifier("1.2.840.113549.1.9.7")
        builder = builder.add_attribute(challenge, draw(text).encode())
    digest = DIGESTS[draw(st.integers(0, len(DIGESTS) - 1))]
    return builder.sign(draw(st.sampled_from(KEYS)), digest).public_bytes(Encoding.DER)


def signed(csr: bytes) -> x509.Certificate | None:
    """The leaf that a request gets, or None if it is refused."""
    try:
        return load_der(AUTHORITY.certify(csr, WEB, WEB_1, PKI.now).chain[0])
    except InvalidCertificate:
        return None


def says(certificate: x509.Certificate) -> object:
    """All that a leaf says, but for what is its key's own."""
    own = x509.SubjectKeyIdentifier.oid
    extensions = [
        (one.oid.dotted_string, one.critical, one.value.public_bytes())
        for one in certificate.extensions
        if one.oid != own
    ]
    span = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return certificate.subject, certificate.issuer, span, extensions


@settings(max_examples=300)
@given(csr=requests())
def test_whatever_is_asked_what_is_signed_is_what_was_attested(csr: bytes) -> None:
    leaf = signed(csr)

    if leaf is not None:
        assert says(leaf) == says(EXPECTED)
        assert holder(leaf) == (WEB, WEB_1)
        asked = x509.load_der_x509_csr(csr)
        assert leaf.public_key() == asked.public_key() == KEYS[0].public_key()
        assert x509.UniformResourceIdentifier(WEB.uri) in list(
            asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        )


@settings(max_examples=300)
@given(
    start=st.integers(0, len(HONEST)),
    length=st.integers(0, 40),
    put=st.one_of(st.binary(max_size=40), st.integers(0, len(HONEST)).map(lambda at: HONEST[at:])),
)
def test_a_request_with_a_piece_replaced_is_refused_or_says_the_same(
    start: int, length: int, put: bytes
) -> None:
    leaf = signed(HONEST[:start] + put + HONEST[start + length :])

    if leaf is not None:
        assert says(leaf) == says(EXPECTED)
        assert leaf.public_key() == KEYS[0].public_key()


@given(
    namespace=st.from_regex(r"[a-z0-9-]{1,70}", fullmatch=True),
    account=st.from_regex(r"[a-z0-9.-]{1,260}", fullmatch=True),
)
def test_whoever_has_a_name_gets_it_or_is_refused(namespace: str, account: str) -> None:
    try:
        identity, workload = Identity(namespace, account), WorkloadName(namespace, account)
    except InvalidName:
        return
    csr = signing_request(identity, workload, KEYS[0])
    if len(identity.dns_name) > 253 or max(map(len, identity.dns_name.split("."))) > 63:
        with pytest.raises(InvalidCertificate, match="too long for a DNS name"):
            AUTHORITY.certify(csr, identity, workload, PKI.now)
        return
    issued = AUTHORITY.certify(csr, identity, workload, PKI.now)
    assert holder(load_der(issued.chain[0])) == (identity, workload)
