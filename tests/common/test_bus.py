"""The bus against a real nats-server."""

from collections.abc import Mapping

import anyio
import pytest

from common.bus import Endpoint
from common.contract import subjects
from common.contract.discovery import Service
from common.contract.identity import CertifyReply, CertifyRequest
from common.errors import BusUnavailable, Refused, RevisionConflict
from common.names import Identity, ServiceName, WorkloadName
from tests.support.nats import connected, mesh, until

pytestmark = pytest.mark.anyio

CERTIFY = subjects.certify(Identity("shop", "web"), WorkloadName("shop", "web-1"))
WEB = subjects.service(ServiceName("shop", "web"))


def web(*slices: str, deleted: bool = False) -> Service:
    return Service(namespace="shop", name="web", slices=slices, deleted=deleted)


async def test_what_is_put_is_got_and_followed_with_its_revision() -> None:
    async with mesh() as (_, bus):
        changes: list[tuple[Service | None, int]] = []
        follower = bus.follow(WEB, lambda document, revision: changes.append((document, revision)))
        assert await follower.wait_known(5)

        first = await bus.put(WEB, web("a"), expected=0)
        second = await bus.put(WEB, web("b"), expected=first)
        await until(lambda: follower.revision == second)

        assert changes == [(None, 0), (web("a"), first), (web("b"), second)]
        got = await bus.get(WEB)
        assert got is not None
        assert (got.message, got.revision) == (web("b"), second)


async def test_a_put_over_another_revision_is_a_conflict() -> None:
    async with mesh() as (_, bus):
        await bus.put(WEB, web("a"), expected=0)

        with pytest.raises(RevisionConflict):
            await bus.put(WEB, web("b"), expected=0)


async def test_a_service_answers_and_refuses() -> None:
    async with mesh() as (server, bus), connected(server) as asker:

        async def certify(subject: str, request: CertifyRequest) -> CertifyReply:
            if request.csr == b"bad":
                raise Refused(f"not for {subject}")
            return CertifyReply(chain=(request.csr,), not_after=1.0)

        await bus.serve(
            "identity", "1.0.0", [Endpoint(subjects.certify_any(), certify)], queue="identity"
        )

        assert await asker.request(CERTIFY, CertifyRequest(csr=b"x")) == CertifyReply(
            chain=(b"x",), not_after=1.0
        )
        with pytest.raises(
            Refused, match=r"refused: not for tulle\.v1\.identity\.certify\.shop\.web\.web-1"
        ):
            await asker.request(CERTIFY, CertifyRequest(csr=b"bad"))


async def test_a_question_is_put_again_while_nobody_is_there_for_a_moment() -> None:
    """As when a server reads its configuration anew: it passes nothing on meanwhile."""
    async with (
        mesh() as (server, bus),
        connected(server) as asker,
        anyio.create_task_group() as group,
    ):
        heard: list[bytes] = []

        async def ask() -> None:
            heard.append(await asker.ask("is.anybody.there", b"", timeout=5))

        async def answer(payload: bytes, headers: Mapping[str, str]) -> bytes:
            return b"yes"

        group.start_soon(ask)
        # The first time it is told that nobody is there.
        await until(lambda: asker.connection.client().stats["in_msgs"] > 0)
        await bus.answer("is.anybody.there", answer)
        await until(lambda: heard == [b"yes"])


async def test_a_request_that_nobody_answers_is_told_soon() -> None:
    async with mesh() as (_, bus):
        with anyio.fail_after(2), pytest.raises(BusUnavailable, match="nobody is there"):
            await bus.request(CERTIFY, CertifyRequest(csr=b"x"), timeout=5)
