"""Boxes that only the other can open: what NATS asks identity, and what identity answers.

A question holds the token of whoever connects. It is a message of NATS's own, but a message: whoever might
hear it (a mistake in permissions, a stream over the wrong subject) must find nothing in it.

NATS calls these keys xkeys: Curve25519, spelled like its other keys. A box is `xkv1`, a nonce of 24 bytes
and what NaCl makes of the rest (github.com/nats-io/nkeys, xkeys.go).
"""

import secrets

from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey

from common.errors import InvalidToken
from services.identity import nkey

_VERSION = b"xkv1"
_SHORTEST = len(_VERSION) + Box.NONCE_SIZE


class BoxKey:
    """A key that seals and opens; its `repr` shows the public half only."""

    def __init__(self, secret: bytes) -> None:
        self._key = PrivateKey(secret)
        self.public = nkey.spell_public(nkey.CURVE, bytes(self._key.public_key))

    def __repr__(self) -> str:
        return f"<BoxKey {self.public}>"

    @property
    def seed(self) -> str:
        """The secret half, as it stands in a file."""
        return nkey.spell_seed(nkey.CURVE, bytes(self._key))

    def seal(self, data: bytes, recipient: str) -> bytes:
        """A box that only `recipient`, a public key, can open; raises InvalidToken if that is none."""
        return _VERSION + bytes(self._with(recipient).encrypt(data))

    def open(self, box: bytes, sender: str) -> bytes:
        """What `sender`, a public key, sealed for us; raises InvalidToken, which shows none of it."""
        shared = self._with(sender)
        if not box.startswith(_VERSION) or len(box) <= _SHORTEST:
            raise InvalidToken("box: expected one that begins with xkv1")
        try:
            return bytes(shared.decrypt(box[len(_VERSION) :]))
        except CryptoError:
            raise InvalidToken("box: not sealed for us by its sender") from None

    def _with(self, other: str) -> Box:
        try:
            return Box(self._key, PublicKey(nkey.check_public(other, nkey.CURVE)))
        except CryptoError:  # a public key with which anybody could open the box
            raise InvalidToken(f"nkey {other[:64]!r}: no key for a box") from None


def generate() -> BoxKey:
    """A new key."""
    return BoxKey(secrets.token_bytes(32))


def load(seed: str) -> BoxKey:
    """Read a seed; raises InvalidCertificate, whose message never holds a part of the seed."""
    return BoxKey(nkey.unspell_seed(seed, nkey.CURVE))
