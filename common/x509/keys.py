"""P-256 keys: the one kind that the mesh uses."""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, Hash

from common.errors import InvalidCertificate


def generate_key() -> ec.EllipticCurvePrivateKey:
    """A new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as PEM (PKCS#8, not encrypted: for a file that only its owner may read)."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Read a P-256 key; raises InvalidCertificate, whose message never holds a part of the key."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        raise InvalidCertificate("key: expected an unencrypted private key in PEM") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not is_p256(key.public_key()):
        raise InvalidCertificate("key: expected ECDSA on P-256")
    return key


def is_p256(key: object) -> bool:
    """True for the one kind of public key that the mesh uses."""
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


def load_public_keys(pem: bytes) -> list[ec.EllipticCurvePublicKey]:
    """Read one or more P-256 public keys; raises InvalidCertificate."""
    end = b"-----END PUBLIC KEY-----"
    blocks = [block + end for block in pem.split(end)[:-1]]
    try:
        keys = [serialization.load_pem_public_key(block.strip()) for block in blocks]
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidCertificate("public keys: expected PEM") from None
    known = [key for key in keys if isinstance(key, ec.EllipticCurvePublicKey) and is_p256(key)]
    if not keys or len(known) != len(keys):
        raise InvalidCertificate("public keys: expected one or more, each ECDSA on P-256")
    return known


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    """The public key as PEM."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """A short name for a key: the first 16 hexadecimal digits of its SHA-256."""
    digest = Hash(SHA256())
    digest.update(
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return digest.finalize().hex()[:16]
