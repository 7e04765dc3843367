"""NATS's keys: Ed25519, spelled in base32 with a letter for what they are, and a checksum.

See github.com/nats-io/nkeys. A seed begins with `S` and the letter, a public key with the letter alone:
`U` user, `A` account, `N` server, `X` for boxes (see xkey).
"""

import base64
import binascii
import secrets

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from common.errors import InvalidCertificate, InvalidToken

ACCOUNT = 0
SERVER = 13 << 3
USER = 20 << 3
CURVE = 23 << 3
_SEED = 18 << 3


class KeyPair:
    """A key that may sign; its `repr` shows the public half only."""

    def __init__(self, kind: int, secret: bytes) -> None:
        self._kind = kind
        self._secret = secret
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.public = spell_public(kind, self._key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"<KeyPair {self.public}>"

    @property
    def seed(self) -> str:
        """The secret half, as it stands in a file."""
        return spell_seed(self._kind, self._secret)

    def sign(self, data: bytes) -> bytes:
        """The signature, 64 bytes (RFC 8032)."""
        return self._key.sign(data)


def generate(kind: int) -> KeyPair:
    """A new key pair of a kind."""
    return KeyPair(kind, secrets.token_bytes(32))


def load(seed: str, kind: int) -> KeyPair:
    """Read a seed; raises InvalidCertificate, whose message never holds a part of the seed."""
    return KeyPair(kind, unspell_seed(seed, kind))


def spell_public(kind: int, raw: bytes) -> str:
    """A public key as others read it."""
    return _spell(bytes([kind]) + raw)


def spell_seed(kind: int, secret: bytes) -> str:
    """The secret half of a key, as it stands in a file."""
    # A seed's first ten bits are its own kind and then the kind of its key.
    return _spell(bytes([_SEED | kind >> 5, (kind & 31) << 3]) + secret)


def unspell_seed(seed: str, kind: int) -> bytes:
    """The secret in a seed, 32 bytes; raises InvalidCertificate, which never shows a part of it."""
    try:
        raw = _unspell(seed.strip())
    except ValueError:
        raise InvalidCertificate("nkey: expected a seed that begins with S") from None
    if len(raw) != 34 or raw[0] & 0xF8 != _SEED:
        raise InvalidCertificate("nkey: expected a seed that begins with S")
    if (raw[0] & 7) << 5 | raw[1] >> 3 != kind:
        raise InvalidCertificate(f"nkey: a seed of another kind; expected {_LETTERS[kind]}")
    return raw[2:]


def check_public(public: str, kind: int) -> bytes:
    """The 32 bytes of a public key; raises InvalidToken unless it is one of `kind`."""
    try:
        raw = _unspell(public)
    except ValueError:
        raw = b""
    if len(raw) != 33 or raw[0] != kind:
        raise InvalidToken(f"nkey {public[:64]!r}: expected a public key of {_LETTERS[kind]}")
    return raw[1:]


def verify(public: str, kind: int, data: bytes, signature: bytes) -> None:
    """Raise InvalidToken unless the key of that kind signed `data`."""
    key = Ed25519PublicKey.from_public_bytes(check_public(public, kind))
    try:
        key.verify(signature, data)
    except InvalidSignature:
        raise InvalidToken(f"signature does not match the key {public}") from None


_LETTERS = {
    ACCOUNT: "an account (A…)",
    SERVER: "a server (N…)",
    USER: "a user (U…)",
    CURVE: "a box (X…)",
}


def _spell(raw: bytes) -> str:
    checksum = binascii.crc_hqx(raw, 0).to_bytes(2, "little")  # CRC-16/XMODEM
    return base64.b32encode(raw + checksum).decode().rstrip("=")


def _unspell(text: str) -> bytes:
    raw = base64.b32decode(text + "=" * (-len(text) % 8))
    if len(raw) < 3 or binascii.crc_hqx(raw[:-2], 0) != int.from_bytes(raw[-2:], "little"):
        raise ValueError
    return raw[:-2]
