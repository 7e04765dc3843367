"""Pods that are there, and pods that are not any more: what is believed of whom."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from common.clock import ManualClock
from common.errors import InvalidToken, KubernetesUnavailable
from common.kube.client import Client
from common.names import Identity, WorkloadName
from services.identity.attest import Attested
from services.identity.cluster.pods import AWAY_SECONDS, Living, Pods
from tests.support.kube_api import KubeApi, kube_api

pytestmark = pytest.mark.anyio

MADE = 1_700_000_000.0
WEB, WEB_ID = WorkloadName("shop", "web-1"), Identity("shop", "web")
PODS = "/api/v1/namespaces/shop/pods"
TOKEN = Attested(identity=WEB_ID, workload=WEB, by="kubernetes", evidence="u-1")
PROOF = Attested(identity=WEB_ID, workload=WEB, by="proof", evidence="1", issued=MADE + 60)
JOIN = Attested(identity=WEB_ID, workload=WEB, by="join-token", evidence="1")


def pod(account: str = "web", phase: str = "Running", **meta: str) -> dict[str, Any]:
    made = datetime.fromtimestamp(MADE, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = {"name": "web-1", "uid": "u-1", "creationTimestamp": made, **meta}
    return {
        "metadata": metadata,
        "spec": {"serviceAccountName": account},
        "status": {"phase": phase},
    }


class World:
    """The API, the pods as they are asked for, and somebody to judge who believes anything."""

    def __init__(self, api: KubeApi, client: Client, *, others: bool) -> None:
        self.api = api
        self.clock = ManualClock()
        self.pods = Pods(client, self.clock, others=others)

    async def judged(self, who: Attested) -> Attested:
        """What is made of somebody."""

        async def judge(token: str, host: str, now: float) -> Attested:
            return who

        return await Living(judge, self.pods)("", "", 0.0)


@asynccontextmanager
async def world(*made: dict[str, Any], others: bool = False) -> AsyncIterator[World]:
    async with kube_api() as (api, access), Client(access) as client:
        for one in made:
            api.put(PODS, one)
        yield World(api, client, others=others)


async def test_who_is_there_is_believed() -> None:
    async with world(pod()) as here:
        for who in (TOKEN, PROOF, JOIN):
            assert await here.judged(who) == who
        await here.pods.check(WEB_ID, WEB)


@pytest.mark.parametrize(
    ("found", "token", "proof"),
    [
        (None, "is not there any more", "is not there any more"),
        (pod(uid="u-2"), "is another one than the token is bound to", ""),
        (pod(account="other"), "has service account 'other', not 'web'", "has service account"),
        (pod(phase="Failed"), "has ended", "has ended"),
        (pod(phase="Succeeded"), "has ended", "has ended"),
        # Until it is gone it has work to finish, and may lose its connection meanwhile.
        (pod(deletionTimestamp="2023-11-14T22:13:20Z"), "is being deleted", ""),
        (pod(creationTimestamp="2030-01-01T00:00:00Z"), "", "is younger than the leaf"),
    ],
)
async def test_who_is_not_is_not(found: dict[str, Any] | None, token: str, proof: str) -> None:
    async with world(*([found] if found else [])) as here:
        for who, says in ((TOKEN, token), (PROOF, proof)):
            if says:
                with pytest.raises(InvalidToken, match=f"pod shop/web-1: {says}"):
                    await here.judged(who)
            else:
                assert await here.judged(who) == who


async def test_where_there_are_others_than_pods_one_may_have_a_leaf_and_no_pod() -> None:
    async with world(others=True) as here:
        assert await here.judged(PROOF) == PROOF
        await here.pods.check(WEB_ID, WEB)
        with pytest.raises(InvalidToken, match="is not there any more"):
            await here.judged(TOKEN)


async def test_gone_is_only_a_pod_that_is_known_not_to_be_there_or_to_have_ended() -> None:
    async with world(pod()) as here:
        assert not await here.pods.is_gone(WEB)
        here.api.put(PODS, pod(phase="Succeeded"))
        assert await here.pods.is_gone(WEB)
        here.api.delete(PODS, "web-1")
        assert await here.pods.is_gone(WEB)
        here.api.up = False
        assert not await here.pods.is_gone(WEB)
    async with world(others=True) as here:
        assert not await here.pods.is_gone(WEB)


async def test_while_the_api_is_away_leaves_are_believed_and_nobody_waits_for_it() -> None:
    async with world(pod()) as here:
        here.api.up = False
        assert await here.judged(PROOF) == PROOF
        with pytest.raises(KubernetesUnavailable):
            await here.judged(TOKEN)
        asked = len(here.api.requests)

        assert await here.judged(PROOF) == PROOF
        await here.pods.check(WEB_ID, WEB)
        assert len(here.api.requests) == asked

        here.api.up = True
        here.api.delete(PODS, "web-1")
        here.clock.advance(AWAY_SECONDS)
        with pytest.raises(InvalidToken, match="is not there any more"):
            await here.judged(PROOF)
