"""Service account tokens of Kubernetes: the API says whose one is, and of which pod.

A pod's projected token is for our audience and for nobody else's, is bound to that pod, and ends within hours.
The kubelet replaces it, and it may be shown as often as its bearer likes.

Rights: create tokenreviews (authentication.k8s.io), in the whole cluster.
"""

from collections.abc import Mapping

import anyio
import msgspec
from msgspec import field

from common.errors import InvalidName, InvalidToken, KubernetesRefused, KubernetesUnavailable
from common.jwt import LONGEST, SKEW, unspell
from common.kube.client import Client
from common.names import Identity, WorkloadName
from services.identity.attest import Attested
from services.identity.tokens import AUDIENCE

CONCURRENCY = 16
"""Tokens that are asked about at once."""
SECONDS = 10.0
"""How long an answer is waited for; NATS gives a connection 30."""
_PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
_POD, _UID = "authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"
_USER = "system:serviceaccount:"


class _Claims(msgspec.Struct, frozen=True):
    """What is looked at before the API is asked: nothing of it is believed."""

    bound: dict[str, object] = field(name="kubernetes.io")
    aud: str | list[str] = ""
    exp: float = 0.0


class _User(msgspec.Struct, frozen=True):
    username: str = ""
    extra: Mapping[str, list[str]] = {}


class _Status(msgspec.Struct, frozen=True):
    authenticated: bool = False
    user: _User = _User()
    audiences: list[str] | None = None
    error: str = ""


class _Review(msgspec.Struct, frozen=True):
    status: _Status = _Status()


class Reviews:
    """Knows tokens of service accounts in this cluster, as those of identities of `trust_domain`."""

    def __init__(self, client: Client, trust_domain: str) -> None:
        self._client = client
        self._trust_domain = trust_domain
        self._limit = anyio.CapacityLimiter(CONCURRENCY)

    def knows(self, token: str) -> bool:
        """See Accounts."""
        return _peek(token) is not None

    async def attest(self, token: str, now: float) -> Attested:
        """See Accounts; whether the pod is still there is asked elsewhere (see pods)."""
        claims = _peek(token)
        if claims is None:
            raise InvalidToken("service account token: expected one of Kubernetes")
        _check(claims, now)
        status = (await self._review(token)).status
        if not status.authenticated:
            raise InvalidToken(f"service account token: refused: {status.error[:200] or 'no'}")
        # An API that knows nothing of audiences takes any token.
        if AUDIENCE not in (status.audiences or ()):
            raise InvalidToken(f"service account token: not known to be for {AUDIENCE!r}")
        return self._attested(status.user)

    async def _review(self, token: str) -> _Review:
        spec = {"token": token, "audiences": [AUDIENCE]}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        try:
            with anyio.fail_after(SECONDS):
                async with self._limit:
                    return await self._client.call("POST", _PATH, _Review, body=body)
        except TimeoutError:
            raise KubernetesUnavailable(f"POST {_PATH}: no answer within {SECONDS:g} s") from None
        except KubernetesRefused as error:
            raise KubernetesUnavailable(f"tokens cannot be reviewed: {error}") from None

    def _attested(self, user: _User) -> Attested:
        namespace, _, account = user.username.removeprefix(_USER).partition(":")
        if not user.username.startswith(_USER) or not account:
            raise InvalidToken(f"token of {user.username[:300]!r}: expected a service account's")
        pods, uids = user.extra.get(_POD, []), user.extra.get(_UID, [])
        if len(pods) != 1 or len(uids) != 1:
            raise InvalidToken(
                f"token of service account {namespace}/{account}: not bound to a pod; expected a projected one"
            )
        try:
            workload = WorkloadName(namespace, pods[0])
            identity = Identity(namespace, account, self._trust_domain)
        except InvalidName as error:
            raise InvalidToken(f"service account token: {error}") from None
        return Attested(identity=identity, workload=workload, by="kubernetes", evidence=uids[0])


def _peek(token: str) -> _Claims | None:
    """What a token says of itself, if it looks like one of Kubernetes."""
    parts = token.split(".")
    if len(token) > LONGEST or len(parts) != 3:
        return None
    try:
        return msgspec.json.decode(unspell(parts[1], "claims"), type=_Claims)
    except (InvalidToken, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _check(claims: _Claims, now: float) -> None:
    """Raise InvalidToken for what need not be asked; saves the API work, and decides nothing else."""
    audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if AUDIENCE not in audiences:
        told = ", ".join(audiences)[:300]
        raise InvalidToken(f"service account token: is for {told!r}; expected {AUDIENCE!r}")
    if claims.exp + SKEW < now:
        raise InvalidToken(f"service account token: expired {now - claims.exp:.0f} s ago")
