"""Boxes between NATS and identity: what one sealed only the other can open."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import Box, PrivateKey, PublicKey

from common.errors import InvalidCertificate, InvalidToken
from services.identity import nkey, xkey

OURS, THEIRS = xkey.generate(), xkey.generate()


@given(st.binary(max_size=200))
def test_what_was_sealed_is_opened(data: bytes) -> None:
    assert THEIRS.open(OURS.seal(data, THEIRS.public), OURS.public) == data


def test_a_box_is_a_version_a_nonce_and_what_nacl_makes_of_the_rest() -> None:
    box = OURS.seal(b"hello", THEIRS.public)
    secret = nkey.unspell_seed(THEIRS.seed, nkey.CURVE)
    public = nkey.check_public(OURS.public, nkey.CURVE)

    assert box[:4] == b"xkv1"
    assert Box(PrivateKey(secret), PublicKey(public)).decrypt(box[4:]) == b"hello"


def test_keys_begin_with_their_letters_and_are_read_again() -> None:
    assert (OURS.public[0], OURS.seed[:2]) == ("X", "SX")
    assert xkey.load(OURS.seed).public == OURS.public
    assert OURS.seed not in repr(OURS)
    with pytest.raises(InvalidCertificate, match=r"expected a box \(X…\)"):
        xkey.load(nkey.generate(nkey.USER).seed)


@pytest.mark.parametrize("at", [0, 4, 20, 30, -1])
def test_a_box_that_was_changed_is_not_opened(at: int) -> None:
    box = bytearray(OURS.seal(b"hello", THEIRS.public))
    box[at] ^= 1

    with pytest.raises(InvalidToken, match="box: "):
        THEIRS.open(bytes(box), OURS.public)


def test_a_key_with_which_anybody_could_open_is_refused() -> None:
    weak = nkey.spell_public(nkey.CURVE, bytes(32))

    with pytest.raises(InvalidToken, match="no key for a box"):
        OURS.seal(b"hello", weak)
