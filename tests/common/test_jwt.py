"""Tokens: what is signed comes back, and nothing else is believed."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from common import jwt
from common.errors import InvalidToken

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


class Said(jwt.Claims, frozen=True, kw_only=True):
    who: str = ""


SAID = Said(aud="mesh", iat=1000, exp=1060, who="web")
TOKEN = jwt.sign(SAID, KEY, kid="k1")


def spelled(header: object, payload: object = {}) -> str:
    parts = (json.dumps(header).encode(), json.dumps(payload).encode(), b"s" * 64)
    return ".".join(base64.urlsafe_b64encode(p).rstrip(b"=").decode() for p in parts)


def test_what_was_signed_comes_back() -> None:
    jws = jwt.parse(TOKEN)

    assert jws.header.kid == "k1"
    assert jws.verify(KEY.public_key(), Said) == SAID


def test_certificates_travel_in_the_header() -> None:
    token = jwt.sign(SAID, KEY, x5c=[b"leaf", b"issuer"])

    assert jwt.parse(token).chain() == [b"leaf", b"issuer"]


def test_another_key_did_not_sign_it() -> None:
    with pytest.raises(InvalidToken, match="does not match the key"):
        jwt.parse(TOKEN).verify(OTHER.public_key(), Said)


@given(at=st.integers(0, len(TOKEN) - 1), put=st.characters(max_codepoint=0x17F))
def test_a_token_with_any_character_changed_is_refused(at: int, put: str) -> None:
    changed = TOKEN[:at] + put + TOKEN[at + 1 :]
    if changed == TOKEN:
        return

    with pytest.raises(InvalidToken):
        jwt.parse(changed).verify(KEY.public_key(), Said)


@given(st.text(max_size=200))
def test_any_text_at_all_is_refused_politely(text: str) -> None:
    with pytest.raises(InvalidToken):
        jwt.parse(text).verify(KEY.public_key(), Said)


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("", "1 parts"),
        ("a.b", "2 parts"),
        ("a.b.c.d", "4 parts"),
        ("=.b.c", "header: expected base64url"),
        (spelled({"alg": "none"}), "header: Invalid enum value 'none'"),
        (spelled({"alg": "HS256"}), "header: Invalid enum value 'HS256'"),
        (spelled({"alg": "ES256", "typ": "at+jwt"}), "Invalid enum value"),
        (spelled({"alg": "ES256", "crit": ["exp"]}), "unknown field `crit`"),
        (spelled({"alg": "ES256", "jwk": {}}), "unknown field `jwk`"),
        (spelled({"typ": "JWT"}), "missing required field `alg`"),
        (spelled([]), "Expected `object`"),
        ("a" * 20_000, "20000 characters; expected 16384 at most"),
    ],
)
def test_a_malformed_token_is_refused_with_the_place(token: str, says: str) -> None:
    with pytest.raises(InvalidToken, match=says):
        jwt.parse(token)


def test_a_second_spelling_of_the_same_signature_is_refused() -> None:
    # 64 bytes leave four spare bits in the last of 86 characters.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = TOKEN[:-1] + alphabet[alphabet.index(TOKEN[-1]) + 1]

    with pytest.raises(InvalidToken, match="one spelling"):
        jwt.parse(twin)


def test_a_signature_in_der_is_refused() -> None:
    head, claims, _ = TOKEN.split(".")
    der = base64.urlsafe_b64encode(b"0" * 70).rstrip(b"=").decode()

    with pytest.raises(InvalidToken, match="64 bytes"):
        jwt.parse(f"{head}.{claims}.{der}").verify(KEY.public_key(), Said)


@pytest.mark.parametrize(
    ("change", "now", "says"),
    [
        ({"aud": "shop"}, 1000, "is for 'shop'; expected 'mesh'"),
        ({}, 1081, "expired 21 s ago"),
        ({}, 979, "from the future: 21 s ahead"),
        ({"exp": 2000}, 1000, "lives 1000 s; expected 60 s at most"),
    ],
)
def test_claims_out_of_place_or_time_are_refused(
    change: dict[str, object], now: float, says: str
) -> None:
    claims = Said(**{"aud": "mesh", "iat": 1000, "exp": 1060, **change})  # type: ignore[arg-type]

    with pytest.raises(InvalidToken, match=says):
        jwt.check(claims, "mesh", now, 60)


@pytest.mark.parametrize("now", [980, 1000, 1060, 1080])
def test_clocks_may_differ_by_twenty_seconds(now: float) -> None:
    jwt.check(SAID, "mesh", now, 60)


def test_claims_must_have_the_types_they_promise() -> None:
    class Numbered(Said, frozen=True, kw_only=True):
        who: int  # type: ignore[assignment]

    with pytest.raises(InvalidToken, match=r"claims: Expected `int`, got `str` - at `\$.who`"):
        jwt.parse(TOKEN).verify(KEY.public_key(), Numbered)
