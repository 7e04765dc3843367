"""The little of JWS that the mesh needs: ES256, compact, read strictly.

RFC 7515 (JWS), RFC 7518 §3.4 (ES256), RFC 7519 (claims). There is one algorithm, one way to spell a
token, and no header that a reader might ignore: whatever else comes is refused.

Law: `parse(sign(claims, key)).verify(key.public_key(), type(claims)) == claims`, and a token of which
any character was changed does not verify.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Literal, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256

from common.errors import InvalidToken

LONGEST = 16_384
"""Characters in a token, at most."""
SKEW = 20.0
"""Seconds by which the clocks of two machines may differ."""

_ES256 = ec.ECDSA(SHA256())
_NUMBER = 32  # bytes of r and of s


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What every token of the mesh says; times are seconds since the epoch."""

    aud: str
    """For whom it is: whoever else gets it must refuse it."""
    iat: float
    exp: float


class Header(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the token is signed."""

    alg: str
    typ: str = ""
    kid: str = ""
    """Which key signed it, where the reader knows several."""
    x5c: tuple[str, ...] = ()
    """The certificate of the key, and what leads to an anchor: DER in base64 (RFC 7515 §4.1.6)."""


# Unknown fields are refused, and `crit` with them: what we do not understand we do not accept.
class _Strict(Header, frozen=True, kw_only=True, forbid_unknown_fields=True):
    alg: Literal["ES256"]
    typ: Literal["JWT"] = "JWT"


C = TypeVar("C", bound=Claims)


class Jws(msgspec.Struct, frozen=True):
    """A token taken apart; nothing in it is to be believed before `verify`."""

    header: Header
    payload: bytes
    signed: bytes
    signature: bytes

    def chain(self) -> list[bytes]:
        """The certificates of `x5c`, DER, the signer's first; raises InvalidToken."""
        try:
            return [base64.b64decode(text, validate=True) for text in self.header.x5c]
        except ValueError:
            raise InvalidToken("token header x5c: expected certificates in base64") from None

    def verify(self, key: ec.EllipticCurvePublicKey, claims: type[C]) -> C:
        """The claims, if `key` signed them; raises InvalidToken that says what is wrong."""
        if len(self.signature) != 2 * _NUMBER:
            raise InvalidToken("token signature: expected 64 bytes (RFC 7518 §3.4)")
        r, s = (int.from_bytes(self.signature[at : at + _NUMBER], "big") for at in (0, _NUMBER))
        try:
            key.verify(encode_dss_signature(r, s), self.signed, _ES256)
        except InvalidSignature:
            raise InvalidToken("token signature: does not match the key") from None
        return _decode(self.payload, claims, "claims")


def sign(
    claims: Claims,
    key: ec.EllipticCurvePrivateKey,
    *,
    kid: str = "",
    x5c: Sequence[bytes] = (),
) -> str:
    """A token that says `claims`, signed by a P-256 key; `x5c` are certificates in DER."""
    chain = tuple(base64.b64encode(der).decode() for der in x5c)
    header = Header(alg="ES256", typ="JWT", kid=kid, x5c=chain)
    signed = f"{_spell(msgspec.json.encode(header))}.{_spell(msgspec.json.encode(claims))}"
    r, s = decode_dss_signature(key.sign(signed.encode(), _ES256))
    signature = r.to_bytes(_NUMBER, "big") + s.to_bytes(_NUMBER, "big")
    return f"{signed}.{_spell(signature)}"


def parse(token: str) -> Jws:
    """Take a token apart; raises InvalidToken that says where it broke, never what stood there."""
    if len(token) > LONGEST:
        raise InvalidToken(f"token: {len(token)} characters; expected {LONGEST} at most")
    parts = token.split(".")
    if len(parts) != 3:
        raise InvalidToken(f"token: {len(parts)} parts; expected HEADER.CLAIMS.SIGNATURE")
    header = _decode(unspell(parts[0], "header"), _Strict, "header")
    return Jws(
        header=header,
        payload=unspell(parts[1], "claims"),
        signed=f"{parts[0]}.{parts[1]}".encode(),
        signature=unspell(parts[2], "signature"),
    )


def check(claims: Claims, audience: str, now: float, longest: float) -> None:
    """Raise InvalidToken unless the claims are for `audience`, in force, and for `longest` s at most."""
    if claims.aud != audience:
        raise InvalidToken(f"token is for {claims.aud!r}; expected {audience!r}")
    if claims.exp + SKEW < now:
        raise InvalidToken(f"token expired {now - claims.exp:.0f} s ago")
    if claims.iat - SKEW > now:
        raise InvalidToken(f"token is from the future: {claims.iat - now:.0f} s ahead")
    if claims.exp - claims.iat > longest:
        raise InvalidToken(
            f"token lives {claims.exp - claims.iat:.0f} s; expected {longest:.0f} s at most"
        )


def unspell(part: str, what: str) -> bytes:
    """Read base64url without padding, in the one way to write it; raises InvalidToken naming `what`."""
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidToken(f"token {what}: expected base64url without padding") from None
    # The last character carries spare bits: two spellings of one signature are one too many.
    if _spell(data) != part:
        raise InvalidToken(f"token {what}: expected base64url in its one spelling")
    return data


def _spell(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


S = TypeVar("S", bound=msgspec.Struct)


def _decode(data: bytes, expected: type[S], what: str) -> S:
    try:
        return msgspec.json.decode(data, type=expected)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidToken(f"token {what}: {str(error)[:200]}") from None
