"""Rolling restarts under steady load of every protocol, through real interception: not one request is lost.

Only a proxy that is killed takes with it what it carried. Clients and servers know of no proxy. HTTP/2 is
served by nginx, gRPC spoken on both sides by grpcio.
"""

from collections.abc import AsyncIterator

import pytest

from tests.support.hosted_rollout import HostedRollout, hosted_rollout

pytestmark = pytest.mark.anyio

AT_ONCE = {"HTTP/2 /": 16, "HTTP/2 /large": 8}
"""Requests of a kind that are on their way at a time; two of those that are not here."""


@pytest.fixture(scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HostedRollout]:
    async with hosted_rollout(tmp_path_factory.mktemp("web")) as made:
        yield made


async def test_a_rolling_replacement_of_all_replicas_loses_no_request(web: HostedRollout) -> None:
    async with web.steady() as sent:
        await sent.goes_on()
        await web.replace_all()
        await sent.goes_on()

    assert sent.lost == {}
    assert sent.refused == 0


async def test_proxies_that_restart_where_they_are_lose_no_request(web: HostedRollout) -> None:
    """Those of the service, and the client's own: until that is back, there is nobody to take connections."""
    async with web.steady() as sent:
        await sent.goes_on()
        for name in sorted(web.ready):
            await web.restart(name)
        await sent.goes_on()
        assert sent.refused == 0
        await web.restart("client-1")
        await sent.goes_on()

    assert sent.lost == {}


async def test_a_proxy_that_is_killed_costs_what_it_carried_and_no_more(web: HostedRollout) -> None:
    killed = min(web.ready)
    async with web.steady() as sent:
        await sent.goes_on()
        await web.mesh.kill(f"{killed}-proxy")
        await sent.goes_on()
        lost = sent.lost
        await web.mesh.start(f"{killed}-proxy")
        await sent.goes_on()

    assert sent.lost == lost
    assert sent.refused == 0
    for kind, what in lost.items():
        assert len(what) <= AT_ONCE.get(kind, 2), what
