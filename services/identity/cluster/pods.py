"""Whether the pod is still there of which a token or a leaf speaks.

A token is good for one pod: another one of the same name, or one that is being deleted, is not it. A leaf says
only a name, so that one is refused that was issued before the pod of that name was made. Who shows a leaf, or
asks for another, is believed while the API is away: traffic depends on it.

Rights: get pods, in the whole cluster.
"""

import logging
from datetime import datetime

import anyio
import msgspec

from common.clock import Clock
from common.errors import InvalidToken, KubernetesRefused, KubernetesUnavailable
from common.jwt import SKEW
from common.kube.client import Client
from common.kube.objects import api_path
from common.log import fields
from common.names import Identity, WorkloadName
from services.identity.attest import Attested
from services.identity.verdicts import Judge

log = logging.getLogger(__name__)

CONCURRENCY = 32
"""Pods that are asked for at once."""
SECONDS = 5.0
"""How long an answer is waited for."""
AWAY_SECONDS = 5.0
"""How long after an API that did not answer nobody waits for it on behalf of a leaf."""
_ENDED = ("Succeeded", "Failed")


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    uid: str
    creation_timestamp: datetime
    deletion_timestamp: datetime | None = None


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    service_account_name: str = "default"


class _Status(msgspec.Struct, frozen=True):
    phase: str = ""


class Pod(msgspec.Struct, frozen=True):
    """As much of a pod as tells whether it is the one."""

    metadata: _Meta
    spec: _Spec = _Spec()
    status: _Status = _Status()


class Pods:
    """The pods of the cluster, asked for one at a time.

    With `others` there are workloads that are no pods: whoever has a leaf and no pod may be one of them.
    """

    def __init__(self, client: Client, clock: Clock, *, others: bool) -> None:
        self._client = client
        self._clock = clock
        self._others = others
        self._limit = anyio.CapacityLimiter(CONCURRENCY)
        self._away_until = float("-inf")

    async def check_bound(self, who: Attested) -> None:
        """Raise InvalidToken unless the pod is there to which the token is bound, and is to stay.

        Raises KubernetesUnavailable if that cannot be told now.
        """
        async with self._limit:
            pod = await self._get(who.workload)
        if pod is None:
            raise InvalidToken(f"pod {who.workload}: is not there any more")
        if pod.metadata.uid != who.evidence:
            raise InvalidToken(f"pod {who.workload}: is another one than the token is bound to")
        if pod.metadata.deletion_timestamp is not None:
            raise InvalidToken(f"pod {who.workload}: is being deleted")
        _check(pod, who.identity, who.workload)

    async def check_leaf(self, who: Attested) -> None:
        """Raise InvalidToken if the pod is gone for which the leaf was issued."""
        pod = await self._present(who.identity, who.workload)
        if pod is not None and who.issued + SKEW < pod.metadata.creation_timestamp.timestamp():
            raise InvalidToken(f"pod {who.workload}: is younger than the leaf")

    async def check(self, identity: Identity, workload: WorkloadName) -> None:
        """Raise InvalidToken if there is no such pod, or not with that identity."""
        await self._present(identity, workload)

    async def is_gone(self, workload: WorkloadName) -> bool:
        """True if the pod is not there or has ended; False if that cannot be told, or it may be no pod."""
        if self._others:
            return False
        try:
            pod = await self._get(workload)
        except KubernetesUnavailable:
            return False
        return pod is None or pod.status.phase in _ENDED

    async def _present(self, identity: Identity, workload: WorkloadName) -> Pod | None:
        """The pod; None if that cannot be told now, or it may be something else than a pod."""
        if self._is_away():
            return None
        # Waiting for others who ask says nothing of the API: whoever makes many ask would be believed.
        async with self._limit:
            if self._is_away():
                return None
            try:
                pod = await self._get(workload)
            except KubernetesUnavailable as error:
                self._away_until = self._clock.monotonic() + AWAY_SECONDS
                log.warning("pods are taken to be there", extra=fields(error=str(error)))
                return None
        if pod is not None:
            _check(pod, identity, workload)
        elif not self._others:
            raise InvalidToken(f"pod {workload}: is not there any more")
        return pod

    def _is_away(self) -> bool:
        return self._clock.monotonic() < self._away_until

    async def _get(self, workload: WorkloadName) -> Pod | None:
        path = f"{api_path('v1', workload.namespace)}/pods/{workload.name}"
        try:
            with anyio.fail_after(SECONDS):
                return await self._client.find(path, Pod)
        except TimeoutError:
            raise KubernetesUnavailable(f"GET {path}: no answer within {SECONDS:g} s") from None
        except KubernetesRefused as error:
            raise KubernetesUnavailable(f"pods cannot be read: {error}") from None


class Living:
    """A judge who believes no token and no leaf of a pod that is gone."""

    def __init__(self, judge: Judge, pods: Pods) -> None:
        self._judge = judge
        self._pods = pods

    async def __call__(self, token: str, host: str, now: float) -> Attested:
        """Who the token shows its bearer to be; raises what the judge and Pods raise."""
        who = await self._judge(token, host, now)
        if who.by == "kubernetes":
            await self._pods.check_bound(who)
        elif who.by == "proof":
            await self._pods.check_leaf(who)
        return who


def _check(pod: Pod, identity: Identity, workload: WorkloadName) -> None:
    account = pod.spec.service_account_name
    if account != identity.service_account:
        raise InvalidToken(
            f"pod {workload}: has service account {account!r}, not {identity.service_account!r}"
        )
    if pod.status.phase in _ENDED:
        raise InvalidToken(f"pod {workload}: has ended ({pod.status.phase})")
