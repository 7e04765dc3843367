"""Service account tokens: what the API may say of one, and what follows. The API is one that says anything."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from aiohttp import web

from common.errors import InvalidToken, KubernetesUnavailable
from common.kube.client import Client
from common.names import Identity, WorkloadName
from services.identity.attest import Attested
from services.identity.cluster import reviews
from services.identity.cluster.reviews import Reviews
from tests.support.kube_api import PlainAccess
from tests.support.nats import until

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000.0
POD, UID = "authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"
EXTRA = {POD: ["web-1"], UID: ["u-1"]}
USER = {"username": "system:serviceaccount:shop:web", "extra": EXTRA}
GOOD = {"authenticated": True, "user": USER, "audiences": ["identity.tulle.dev"]}


class Api:
    """Says the same of every token."""

    def __init__(self, status: Any = GOOD, code: int = 201) -> None:
        self.status, self.code = status, code
        self.asked: list[Any] = []
        self.at_once = self.most_at_once = 0
        self.answers = anyio.Event()
        self.answers.set()

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, await request.json()))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.answers.wait()
        self.at_once -= 1
        return web.json_response({"kind": "TokenReview", "status": self.status}, status=self.code)


@asynccontextmanager
async def reviewing(api: Api) -> AsyncIterator[Reviews]:
    app = web.Application()
    app.router.add_post("/{tail:.*}", api.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        async with Client(PlainAccess(f"http://{host}:{port}")) as client:
            yield Reviews(client, "cluster.local")
    finally:
        await runner.cleanup()


def token(**claims: object) -> str:
    said = {
        "aud": ["identity.tulle.dev"],
        "exp": NOW + 3600,
        "kubernetes.io": {"namespace": "shop"},
        **claims,
    }
    parts = ({"alg": "RS256", "kid": "k"}, said)
    spelled = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    return ".".join([*(part.rstrip("=") for part in spelled), "c2ln"])


async def test_whose_it_is_is_what_the_api_says_and_nothing_else() -> None:
    api = Api()
    shown = token(**{"kubernetes.io": {"namespace": "bank", "pod": {"name": "vault-0"}}})
    async with reviewing(api) as known:
        who = await known.attest(shown, NOW)

    assert who == Attested(
        identity=Identity("shop", "web"),
        workload=WorkloadName("shop", "web-1"),
        by="kubernetes",
        evidence="u-1",
    )
    ((path, review),) = api.asked
    assert path == "/apis/authentication.k8s.io/v1/tokenreviews"
    assert review["spec"] == {"token": shown, "audiences": ["identity.tulle.dev"]}


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({"authenticated": False, "error": "no such key"}, "refused: no such key"),
        ({}, "refused: no"),
        ({**GOOD, "audiences": None}, "not known to be for 'identity.tulle.dev'"),
        ({**GOOD, "audiences": ["api"]}, "not known to be for 'identity.tulle.dev'"),
        ({**GOOD, "user": {**USER, "username": "admin"}}, "token of 'admin': expected a service"),
        (
            {**GOOD, "user": {**USER, "username": "system:serviceaccount:shop"}},
            "expected a service",
        ),
        ({**GOOD, "user": {**USER, "extra": {}}}, "shop/web: not bound to a pod"),
        ({**GOOD, "user": {**USER, "extra": {POD: ["web-1"]}}}, "not bound to a pod"),
        ({**GOOD, "user": {**USER, "extra": {**EXTRA, POD: ["a", "b"]}}}, "not bound to a pod"),
        ({**GOOD, "user": {**USER, "extra": {**EXTRA, POD: ["a/b"]}}}, "service account token: "),
    ],
)
async def test_whatever_else_the_api_says_shows_nobody(status: Any, says: str) -> None:
    async with reviewing(Api(status)) as known:
        with pytest.raises(InvalidToken, match=says):
            await known.attest(token(), NOW)


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"aud": ["https://kubernetes.default.svc"]}, "is for 'https://kubernetes.default.svc'"),
        ({"aud": "another"}, "is for 'another'"),
        ({"aud": []}, "is for ''"),
        ({"exp": NOW - 100}, "expired 100 s ago"),
    ],
)
async def test_what_cannot_be_good_is_not_asked_about(claims: dict[str, object], says: str) -> None:
    api = Api()
    async with reviewing(api) as known:
        with pytest.raises(InvalidToken, match=says):
            await known.attest(token(**claims), NOW)

    assert api.asked == []


@pytest.mark.parametrize("code", [403, 429, 500, 503])
async def test_an_api_that_cannot_tell_has_said_nothing(code: int) -> None:
    async with reviewing(Api(code=code)) as known:
        with pytest.raises(KubernetesUnavailable):
            await known.attest(token(), NOW)


async def test_of_many_tokens_a_few_are_asked_about_at_once() -> None:
    api = Api()
    api.answers = anyio.Event()
    async with reviewing(api) as known, anyio.create_task_group() as group:
        for _ in range(3 * reviews.CONCURRENCY):
            group.start_soon(known.attest, token(), NOW)
        await until(lambda: len(api.asked) >= reviews.CONCURRENCY)
        api.answers.set()

    assert len(api.asked) == 3 * reviews.CONCURRENCY
    assert api.most_at_once == reviews.CONCURRENCY


@pytest.mark.parametrize(
    "text", ["", "a.b.c", "a.b", "x" * 20_000, "a.e30.c", "a.bnVsbA.c", "é.é.é"]
)
async def test_other_tokens_are_known_to_be_others(text: str) -> None:
    async with reviewing(Api()) as known:
        assert not known.knows(text)
        assert known.knows(token())
