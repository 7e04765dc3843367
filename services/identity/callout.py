"""The auth callout: NATS asks whether a connection may be admitted, and as what. Both are signed JWTs.

The server signs the question with its nkey; the answer is signed with the account's, and carries the
JWT of a user with its permissions (github.com/nats-io/jwt v2; ADR-26 of NATS). The server has made a key
for that user alone, so that no answer fits a second question. Both travel in boxes (see xkey).
"""

import base64
import hashlib
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from common.errors import InvalidToken
from common.jwt import LONGEST, SKEW, unspell
from services.identity import nkey
from services.identity.permissions import Permissions
from services.identity.xkey import BoxKey

AUDIENCE = "nats-authorization-request"
SERVER_KEY = "Nats-Server-Xkey"
"""The header that names the key with which the server sealed its question."""
MOST_PAYLOAD = 1024 * 1024
"""Bytes of a message, at most."""
MOST_SUBSCRIPTIONS = 10_000
"""Of a connection, at most: of a proxy, one for each document that it follows."""
_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_UNLIMITED = -1
_SIGNATURE = 64


@dataclass(frozen=True, slots=True)
class Knock:
    """Somebody at the door."""

    user: str
    """The key that the server made for this connection."""
    server: str
    token: str = field(repr=False)
    """What the connection shows; empty if nothing."""
    host: str = ""
    client: str = ""
    """What it calls itself, which means nothing."""
    sealed_by: str = ""
    """The server's key for boxes."""
    nkey: str = ""
    """The public key with which it signed what the server gave it to sign; empty if with none."""
    account: str = ""
    """The public key of the account that the server asks: with that the answer is signed."""
    sealed_for: str = ""
    """The public key of ours for which the server sealed its question, and opens the answer."""


class _Header(msgspec.Struct, frozen=True):
    alg: Literal["ed25519-nkey"]


class _Server(msgspec.Struct, frozen=True):
    id: str
    xkey: str = ""


class _Client(msgspec.Struct, frozen=True):
    host: str = ""
    name: str = ""
    nonce: str = ""


class _Connect(msgspec.Struct, frozen=True):
    auth_token: str = ""
    nkey: str = ""
    sig: str = ""


class _Request(msgspec.Struct, frozen=True):
    user_nkey: str
    server_id: _Server
    type: Literal["authorization_request"]
    client_info: _Client = _Client()
    connect_opts: _Connect = _Connect()


class _Question(msgspec.Struct, frozen=True):
    iss: str
    aud: str
    sub: str
    nats: _Request
    exp: float


def read(
    box: bytes, sender: str, keys: Iterable[BoxKey], accounts: Collection[str], now: float
) -> Knock:
    """Understand a question that a server put to one of `accounts` (public keys), sealed for one of `keys`.

    `sender` is the server's own key, from the header of the question. Raises InvalidToken that says what is
    wrong with it: then no server of ours asked.
    """
    if len(box) > 4 * LONGEST:
        raise InvalidToken(f"callout: {len(box)} bytes; expected {4 * LONGEST} at most")
    payload, key = _opened(box, sender, keys)
    question = _verified(payload)
    nats = question.nats
    if (question.aud, question.iss) != (
        AUDIENCE,
        nats.server_id.id,
    ) or question.sub not in accounts:
        raise InvalidToken("callout: not put to us by the server that signed it")
    if nats.server_id.xkey != sender:
        raise InvalidToken("callout: not sealed by the server that signed it")
    if question.exp + SKEW < now:
        raise InvalidToken("callout: the server no longer waits for an answer")
    nkey.check_public(nats.user_nkey, nkey.USER)
    return Knock(
        user=nats.user_nkey,
        server=question.iss,
        token=nats.connect_opts.auth_token,
        host=nats.client_info.host,
        client=nats.client_info.name,
        sealed_by=sender,
        nkey=_who_signed(nats),
        account=question.sub,
        sealed_for=key.public,
    )


def _opened(box: bytes, sender: str, keys: Iterable[BoxKey]) -> tuple[bytes, BoxKey]:
    trouble = InvalidToken("box: there is no key to open it with")
    for key in keys:
        try:
            return key.open(box, sender), key
        except InvalidToken as error:
            trouble = error
    raise trouble


def _verified(payload: bytes) -> _Question:
    """What a server says; that it is one of ours follows from where the question came."""
    try:
        header, claims, signature = payload.decode("ascii").split(".")
    except ValueError:
        raise InvalidToken("callout: expected a JWT") from None
    try:
        msgspec.json.decode(unspell(header, "header"), type=_Header)
        question = msgspec.json.decode(unspell(claims, "claims"), type=_Question)
    except msgspec.DecodeError as error:
        raise InvalidToken(f"callout: {str(error)[:200]}") from None
    signed = f"{header}.{claims}".encode()
    nkey.verify(question.iss, nkey.SERVER, signed, unspell(signature, "signature"))
    return question


def _who_signed(nats: _Request) -> str:
    """The public key that signed the server's nonce; empty if none claims to. NATS leaves it to us."""
    connect = nats.connect_opts
    if not connect.nkey:
        return ""
    text = connect.sig.rstrip("=").replace("+", "-").replace("/", "_")
    signature = unspell(text, "signature of the nonce")
    if len(signature) != _SIGNATURE or not nats.client_info.nonce:
        raise InvalidToken("nkey: expected a signature of the nonce")
    nkey.verify(connect.nkey, nkey.USER, nats.client_info.nonce.encode(), signature)
    return connect.nkey


def admit(
    knock: Knock,
    account: nkey.KeyPair,
    name: str,
    permissions: Permissions,
    now: float,
    ends: float | None = None,
    *,
    into: str,
) -> bytes:
    """The answer that lets a connection into the account `into` as `name`, until `ends`.

    A workload's never ends: what it may do follows from who it is, and outlives the leaf that it showed.
    """
    subscribe: dict[str, object] = {"allow": permissions.subscribe}
    if permissions.not_subscribe:
        subscribe["deny"] = permissions.not_subscribe
    user: dict[str, object] = {
        "pub": {"allow": permissions.publish},
        "sub": subscribe,
        "subs": MOST_SUBSCRIPTIONS,
        "payload": MOST_PAYLOAD,
        "data": _UNLIMITED,
    }
    user_jwt = _sign(account, into, knock.user, "user", user, now, name, ends)
    answer = {"jwt": user_jwt}
    return _sign(account, knock.server, knock.user, "authorization_response", answer, now).encode()


def refuse(knock: Knock, account: nkey.KeyPair, now: float) -> bytes:
    """The answer that does not; why is for us to know."""
    answer = {"error": "not admitted"}
    return _sign(account, knock.server, knock.user, "authorization_response", answer, now).encode()


def _sign(
    account: nkey.KeyPair,
    audience: str,
    subject: str,
    kind: str,
    nats: dict[str, object] | dict[str, str],
    now: float,
    name: str = "",
    ends: float | None = None,
) -> str:
    claims: dict[str, object] = {
        "iss": account.public,
        "aud": audience,
        "sub": subject,
        "iat": int(now),
        "nats": {**nats, "type": kind, "version": 2},
    }
    if name:
        claims["name"] = name
    if ends is not None:
        claims["exp"] = math.ceil(ends)
    # The id is a digest of the claims without it.
    digest = hashlib.sha256(msgspec.json.encode(claims)).digest()
    claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
    head, body = (_spell(msgspec.json.encode(part)) for part in (_HEADER, claims))
    return f"{head}.{body}.{_spell(account.sign(f'{head}.{body}'.encode()))}"


def _spell(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
