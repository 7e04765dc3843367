"""NATS's question and our answer: read strictly, written as the server expects."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidToken
from services.identity import callout, nkey, xkey
from services.identity.callout import Knock
from services.identity.permissions import Permissions

NOW = 1_700_000_000.0
ACCOUNT = nkey.generate(nkey.ACCOUNT)
SERVER = nkey.generate(nkey.SERVER)
USER = nkey.generate(nkey.USER)
PERSON = nkey.generate(nkey.USER)
OURS, THEIRS, NOBODY_S = xkey.generate(), xkey.generate(), xkey.generate()
SOME = Permissions(publish=("a",), subscribe=("b.>",), not_subscribe=("> *",))


def spell(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def question(
    signer: nkey.KeyPair = SERVER, nats: dict[str, object] | None = None, **changes: object
) -> bytes:
    asked: dict[str, object] = {
        "type": "authorization_request",
        "version": 2,
        "user_nkey": USER.public,
        "server_id": {"id": SERVER.public, "xkey": THEIRS.public, "name": "tulle"},
        "client_info": {"host": "10.0.0.1", "id": 5, "name": "shop/web", "nonce": "once"},
        "connect_opts": {"auth_token": "secret", "protocol": 1, "lang": "python3"},
        **(nats or {}),
    }
    claims: dict[str, object] = {
        "iss": SERVER.public,
        "aud": "nats-authorization-request",
        "sub": ACCOUNT.public,
        "exp": NOW + 30,
        "nats": asked,
        **changes,
    }
    signed = f"{spell({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{spell(claims)}"
    return f"{signed}.{spell(signer.sign(signed.encode()))}".encode()


def without_end() -> bytes:
    head, claims, _ = question().split(b".")
    said = json.loads(base64.urlsafe_b64decode(claims + b"=="))
    del said["exp"]
    signed = head + b"." + spell(said).encode()
    return signed + b"." + spell(SERVER.sign(signed)).encode()


def sealed(payload: bytes) -> bytes:
    return THEIRS.seal(payload, OURS.public)


def read(payload: bytes) -> Knock:
    return callout.read(sealed(payload), THEIRS.public, [OURS], [ACCOUNT.public], NOW)


def signed_by(key: nkey.KeyPair, nonce: bytes = b"once", **changes: str) -> dict[str, object]:
    """What somebody shows who signs the server's nonce."""
    signature = base64.b64encode(key.sign(nonce)).decode()
    return {"connect_opts": {"nkey": key.public, "sig": signature, **changes}}


def claims_of(token: str, key: nkey.KeyPair) -> dict[str, object]:
    head, body, signature = token.split(".")
    pad = "=="
    nkey.verify(
        key.public,
        nkey.ACCOUNT,
        f"{head}.{body}".encode(),
        base64.urlsafe_b64decode(signature + pad),
    )
    decoded: dict[str, object] = json.loads(base64.urlsafe_b64decode(body + pad))
    return decoded


def test_a_question_of_the_server_is_understood() -> None:
    knock = read(question())

    assert (knock.user, knock.server) == (USER.public, SERVER.public)
    assert (knock.token, knock.host, knock.client) == ("secret", "10.0.0.1", "shop/web")
    assert "secret" not in repr(knock)


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"", "expected a JWT"),
        (b"\xff.\xff.\xff", "expected a JWT"),
        (b"a.b", "expected a JWT"),
        (b"a" * 70_000 + b".b.c", "bytes; expected 65536 at most"),
        (question().replace(b".", b".!", 1), "base64url"),
        (question(nkey.generate(nkey.SERVER)), "does not match the key"),
        (question(aud="shop"), "not put to us"),
        (question(sub=nkey.generate(nkey.ACCOUNT).public), "not put to us"),
        (question(iss=nkey.generate(nkey.SERVER).public), "does not match the key"),
        (question(ACCOUNT, iss=ACCOUNT.public), "expected a public key of a server"),
        (question(exp=NOW - 60), "no longer waits"),
        (question(exp=0), "no longer waits"),
        (question(exp=None), r"got `null` - at `\$.exp`"),
        (without_end(), "missing required field `exp`"),
        (question(nats={"user_nkey": ACCOUNT.public}), "expected a public key of a user"),
        (question(nats={"user_nkey": 5}), r"Expected `str`, got `int` - at `\$.nats.user_nkey`"),
        (question(nats={"type": "user"}), "Invalid enum value 'user'"),
        (question(nats={"server_id": {"id": USER.public}}), "not put to us"),
        (question(nats={"server_id": {"id": SERVER.public}}), "not sealed by the server"),
        (question(nats=signed_by(PERSON, b"twice")), "does not match the key"),
        (question(nats=signed_by(PERSON, nkey=USER.public)), "does not match the key"),
        (question(nats=signed_by(PERSON, sig="")), "expected a signature of the nonce"),
        (question(nats=signed_by(PERSON, sig="short")), "signature"),
        (question(nats=signed_by(PERSON, nkey=ACCOUNT.public)), "expected a public key of a user"),
        (
            question(nats=signed_by(PERSON) | {"client_info": {}}),
            "expected a signature of the nonce",
        ),
    ],
)
def test_what_no_server_of_ours_asked_is_refused(payload: bytes, says: str) -> None:
    with pytest.raises(InvalidToken, match=says):
        read(payload)


@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_refused_politely(payload: bytes) -> None:
    with pytest.raises(InvalidToken):
        read(payload)


@pytest.mark.parametrize("box", [b"", b"xkv1", question(), OURS.seal(question(), THEIRS.public)])
def test_what_is_not_sealed_for_us_is_refused(box: bytes) -> None:
    with pytest.raises(InvalidToken, match="box: "):
        callout.read(box, THEIRS.public, [NOBODY_S], [ACCOUNT.public], NOW)
    with pytest.raises(InvalidToken, match="expected a public key of a box"):
        callout.read(sealed(question()), "", [OURS], [ACCOUNT.public], NOW)
    with pytest.raises(InvalidToken, match="not sealed for us by its sender"):
        callout.read(sealed(question()), NOBODY_S.public, [OURS], [ACCOUNT.public], NOW)


def test_who_signed_the_server_s_nonce_is_known() -> None:
    assert read(question()).nkey == ""
    assert read(question(nats=signed_by(PERSON))).nkey == PERSON.public


def test_a_yes_for_a_time_says_when_it_ends() -> None:
    knock = read(question())
    answer = claims_of(
        callout.admit(knock, ACCOUNT, "_/ada", SOME, NOW, NOW + 60, into="READER").decode(), ACCOUNT
    )

    nats = answer["nats"]
    assert isinstance(nats, dict)
    assert claims_of(nats["jwt"], ACCOUNT)["exp"] == NOW + 60


def test_a_yes_carries_the_permissions_and_never_ends() -> None:
    knock = read(question())
    admitted = callout.admit(knock, ACCOUNT, "shop/web", SOME, NOW, into="WORKLOADS")
    answer = claims_of(admitted.decode(), ACCOUNT)

    assert answer["aud"] == SERVER.public
    assert answer["sub"] == USER.public
    nats = answer["nats"]
    assert isinstance(nats, dict)
    user = claims_of(nats["jwt"], ACCOUNT)
    assert (user["sub"], user["aud"], user["name"]) == (USER.public, "WORKLOADS", "shop/web")
    assert "exp" not in user
    may = user["nats"]
    assert isinstance(may, dict)
    assert may["pub"] == {"allow": ["a"]}
    assert may["sub"] == {"allow": ["b.>"], "deny": ["> *"]}


def test_a_no_says_nothing_of_the_reason() -> None:
    knock = read(question())
    answer = claims_of(callout.refuse(knock, ACCOUNT, NOW).decode(), ACCOUNT)

    nats = answer["nats"]
    assert isinstance(nats, dict)
    assert nats["error"] == "not admitted"
    assert "jwt" not in nats
