"""NATS's keys, against the library that NATS's own client uses."""

import nkeys
import pytest

from common.errors import InvalidCertificate, InvalidToken
from services.identity import nkey


@pytest.mark.parametrize("kind", [nkey.ACCOUNT, nkey.SERVER, nkey.USER])
def test_keys_are_spelled_as_others_spell_them(kind: int) -> None:
    ours = nkey.generate(kind)
    theirs = nkeys.from_seed(ours.seed.encode())

    assert theirs.public_key.decode() == ours.public
    assert ours.public[0] == {nkey.ACCOUNT: "A", nkey.SERVER: "N", nkey.USER: "U"}[kind]
    assert nkey.load(ours.seed, kind).public == ours.public
    assert theirs.sign(b"data") == ours.sign(b"data")
    nkey.verify(ours.public, kind, b"data", theirs.sign(b"data"))


def test_a_seed_is_never_shown() -> None:
    ours = nkey.generate(nkey.USER)

    assert ours.seed not in repr(ours)


USER = nkey.generate(nkey.USER)
OTHER = nkey.generate(nkey.USER)


@pytest.mark.parametrize(
    "seed",
    [
        "",
        "S",
        "hello",
        "é",
        USER.public,
        USER.seed[:-1],
        USER.seed[:-1] + "!",
        "A" * 58,
        USER.seed[:20] + ("A" if USER.seed[20] != "A" else "B") + USER.seed[21:],
    ],
    ids=[
        *("nothing", "one letter", "no base32", "not ASCII", "a public key", "cut off"),
        *("an exclamation mark", "no checksum", "one letter is another"),
    ],
)
def test_a_malformed_seed_is_refused_and_not_shown(seed: str) -> None:
    with pytest.raises(InvalidCertificate, match="expected a seed that begins with S") as caught:
        nkey.load(seed, nkey.USER)

    assert len(seed) < 6 or seed not in str(caught.value)


def test_a_seed_of_another_kind_is_refused() -> None:
    with pytest.raises(InvalidCertificate, match="expected an account"):
        nkey.load(USER.seed, nkey.ACCOUNT)


@pytest.mark.parametrize(
    "public",
    ["", "U", USER.seed, OTHER.public[:-1], "N" + USER.public[1:]],
    ids=["nothing", "one letter", "a seed", "cut off", "a server's prefix"],
)
def test_a_malformed_public_key_is_refused(public: str) -> None:
    with pytest.raises(InvalidToken, match="expected a public key of a user"):
        nkey.verify(public, nkey.USER, b"data", USER.sign(b"data"))


def test_another_s_signature_is_refused() -> None:
    with pytest.raises(InvalidToken, match="does not match"):
        nkey.verify(USER.public, nkey.USER, b"data", OTHER.sign(b"data"))
