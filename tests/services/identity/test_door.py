"""The door of the bus: a real nats-server, a real identity service, and who gets in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from nats.aio.client import Client
from nats.errors import Error as NatsError

from common import jwt
from common.bus import Bus
from common.clock import SystemClock
from common.contract import subjects
from common.contract.events import Event
from common.contract.identity import PROOF_AUDIENCE, CertifyRequest, Proof
from common.errors import Refused
from common.names import Identity, WorkloadName
from common.x509 import (
    fingerprint,
    generate_key,
    holder,
    key_pem,
    load_der,
    load_key,
    signing_request,
)
from services.identity.permissions import CALLOUT, ROLES, Role
from services.identity.roots import Pair, make_server
from services.identity.tokens import JoinToken, issue
from tests.support.identity import Mesh, nats
from tests.support.nats import until
from tests.support.pki import Leaf

pytestmark = pytest.mark.anyio

WEB = WorkloadName("shop", "web-1")
BOOKS = WorkloadName("shop", "books")
WEB_ID = Identity("shop", "web")


REFUSED = "nats: 'Authorization Violation'"
"""All that anybody hears who is not let in."""


async def refusal(mesh: Mesh, token: str) -> str:
    """What somebody hears who knocks with that token; nothing if they are let in."""
    try:
        client = await mesh.client(token=token)
    except NatsError as error:
        return str(error)
    await client.close()
    return ""


async def certified(bus: Bus, identity: Identity, workload: WorkloadName) -> Leaf:
    key = generate_key()
    request = CertifyRequest(csr=signing_request(identity, workload, key))
    reply = await bus.request(subjects.certify(identity, workload), request)
    return Leaf(key, tuple(load_der(der) for der in reply.chain))


@asynccontextmanager
async def _web(mesh: Mesh) -> AsyncIterator[Bus]:
    """A bus on which WEB has been admitted with a join token."""
    async with mesh.workload_bus(WEB, mesh.token(WEB, "web")) as bus:
        with anyio.fail_after(10):
            await bus.wait_connected()
        yield bus


async def joined(mesh: Mesh) -> Leaf:
    """A leaf for WEB, got with a join token."""
    async with _web(mesh) as bus:
        return await certified(bus, WEB_ID, WEB)


def proof(leaf: Leaf, workload: str = str(WEB), age: float = 0.0, **changes: object) -> str:
    now = SystemClock.now() - age
    said: dict[str, object] = {"aud": PROOF_AUDIENCE, "iat": now, "exp": now + 60, **changes}
    claims = Proof(workload=workload, **said)  # type: ignore[arg-type]
    return jwt.sign(claims, leaf.key, x5c=[one.public_bytes(Encoding.DER) for one in leaf.chain])


async def test_services_and_the_operator_come_in_without_identity(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh:
        for role in ROLES:
            async with mesh.role(role) as bus:
                assert bus.connected.value


async def test_a_service_with_another_mesh_s_key_does_not_come_in(tmp_path: Path) -> None:
    async with nats(tmp_path / "one") as one, nats(tmp_path / "two") as two, two.identity():
        seed = one.directory.user("destination").seed

        with pytest.raises(NatsError, match="Authorization Violation"):
            await two.client(seed=seed)


async def test_a_workload_joins_is_certified_and_comes_back_with_a_proof(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity():
        leaf = await joined(mesh)

        assert holder(leaf.chain[0]) == (WEB_ID, WEB)
        async with mesh.workload_bus(WEB, proof(leaf)) as bus:
            with anyio.fail_after(10):
                await bus.wait_connected()
            again = await certified(bus, WEB_ID, WEB)
            assert holder(again.chain[0]) == (WEB_ID, WEB)


async def test_whoever_shows_nothing_good_is_refused_and_only_we_are_told_why(
    tmp_path: Path,
) -> None:
    async with nats(tmp_path) as mesh, mesh.identity(), mesh.role("operator") as operator:
        events: list[Event] = []
        await operator.listen(
            subjects.event("identity", "refused"), lambda _, event: events.append(event)
        )
        good = mesh.token(WEB, "web")
        head, claims, signature = good.split(".")
        now = SystemClock.now()
        other = key_pem(generate_key())
        pem = mesh.directory.tokens_key_file.read_bytes()
        foreign = issue(other, WEB, "web", trust_domain=mesh.trust_domain, now=now)
        tampered = f"{head}.{mesh.token(BOOKS).split('.')[1]}.{signature}"
        attempts = {
            "": "no token",
            "secret": "1 parts; expected HEADER.CLAIMS.SIGNATURE",
            "a.b.c": "header",
            "x" * 20_000: "16384 at most",
            foreign: "unknown key",
            tampered: "does not match the key",
            f"{head}.{claims}.{'A' * 86}": "does not match the key",
            mesh.token(WEB, now=now - 7200): "expired",
            mesh.token(WEB, now=now + 600): "from the future",
            issue(pem, WEB, "web", trust_domain="other.example", now=now): "trust domain",
            _other_audience(pem, now): "is for 'shop.example'",
        }

        for token, reason in attempts.items():
            assert await refusal(mesh, token) == REFUSED, reason
            await until(partial(_last_says, events, reason))

        assert len(events) == len(attempts)
        assert all(token not in mesh.identity_log() for token in attempts if len(token) > 9)
        assert await refusal(mesh, good) == ""


async def test_a_proof_is_worth_what_its_leaf_is(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity():
        leaf = await joined(mesh)
        other = Leaf(generate_key(), leaf.chain)
        signed_by_leaf = make_server(Pair(leaf.chain, leaf.key), ["x.example"], SystemClock.now())
        attempts = {
            proof(leaf, str(BOOKS)): "claims workload 'shop/books'; its leaf is of 'shop/web-1'",
            proof(leaf, age=90): "expired",
            proof(leaf, exp=SystemClock.now() + 3600): "60 s at most",
            proof(leaf, aud="identity.tulle.dev"): "is for 'identity.tulle.dev'",
            proof(other): "does not match the key",
            proof(Leaf(leaf.key, leaf.chain[:1])): "does not lead to an anchor",
            proof(Leaf(mesh.directory.issuer().key, leaf.chain[1:])): "anchor",
            proof(Leaf(signed_by_leaf.key, signed_by_leaf.chain)): "does not lead to an anchor",
            proof(Leaf(mesh.directory.server().key, mesh.directory.server().chain)): "anchor",
        }

        for token, reason in attempts.items():
            assert await refusal(mesh, token) == REFUSED, reason
            assert reason in mesh.identity_log()
        assert await refusal(mesh, proof(leaf)) == ""


async def test_permissions_outlive_the_leaf(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity(leaf_seconds=2):
        leaf = await joined(mesh)
        async with mesh.workload_bus(WEB, proof(leaf)) as bus:
            with anyio.fail_after(10):
                await bus.wait_connected()
            ended = leaf.chain[0].not_valid_after_utc.timestamp()
            await until(lambda: SystemClock.now() > ended + 1)

            assert await refusal(mesh, proof(leaf)) == REFUSED
            assert bus.connected.value
            await certified(bus, WEB_ID, WEB)


ALLOWED = (
    "$JS.ACK.tulle.v1.metrics.shop.web-1",
    "$JS.ACK.tulle.v1.ack.shop.web-1",
    "$JS.ACK.tulle.v1.lifecycle.shop.web-1.ready",
    "$JS.ACK.tulle.v1.events.proxy.shop.web-1.ejected",
    "tulle.v1.identity.certify.shop.web.web-1",
    "$JS.API.DIRECT.GET.tulle_state.put.v1.discovery.address.10-0-0-1",
    "$JS.API.DIRECT.GET.tulle_state.put.v1.mesh.trust",
    "$JS.API.DIRECT.GET.tulle_workloads.put.v1.workload.shop.web-1",
)
NOT_TO_SAY = (
    "tulle.v1.metrics.shop.web-1",
    "tulle.v1.metrics.shop.books",
    "$JS.ACK.tulle.v1.metrics.shop.books",
    "tulle.v1.ack.shop.web-2",
    "tulle.v1.lifecycle.shop.books.draining",
    "tulle.v1.lifecycle.shop.web-1.gone",
    "tulle.v1.events.identity.issued",
    "tulle.v1.events.proxy.ejected",
    "tulle.v1.events.proxy.shop.books.ejected",
    "tulle.v1.identity.certify.shop.books.web-1",
    "tulle.v1.identity.certify.shop.web.web-2",
    "tulle.v1.discovery.address.10-0-0-1",
    "tulle.v1.mesh.trust",
    "put.v1.mesh.trust",
    "put.v1.discovery.address.10-0-0-1",
    "put.v1.workload.shop.web-1",
    "tulle.v1.telemetry.stat",
    "tulle.v1.tap.shop.books",
    "$JS.API.INFO",
    "$JS.API.STREAM.INFO.tulle_state",
    "$JS.API.STREAM.DELETE.tulle_state",
    "$JS.API.STREAM.MSG.GET.tulle_state",
    "$JS.API.DIRECT.GET.tulle_state",
    "$JS.API.DIRECT.GET.tulle_workloads.put.v1.workload.shop.books",
    "$JS.API.CONSUMER.CREATE.tulle_state",
    "$KV.tulle_leases.identity",
    "$SRV.PING",
    CALLOUT,
    "$SYS.REQ.SERVER.PING",
    "_INBOX.shop.books.x",
)
TO_HEAR = (
    "tulle.v1.discovery.address.10-0-0-1",
    "tulle.v1.mesh.trust",
    "tulle.v1.mesh.settings",
    "tulle.v1.workload.shop.web-1",
    "tulle.v1.tap.shop.web-1",
    "_INBOX.shop.web-1.>",
)
NOT_TO_HEAR = (
    ">",
    "tulle.>",
    "tulle.v1.>",
    "tulle.v1.*.*.*",
    "tulle.v1.discovery.>",
    "tulle.v1.workload.shop.books",
    "tulle.v1.workload.shop.*",
    "tulle.v1.metrics.shop.web-1",
    "tulle.v1.identity.certify.shop.web.web-1",
    "tulle.v1.identity.certify.>",
    "tulle.v1.telemetry.stat",
    "tulle.v1.tap.shop.*",
    "tulle.v1.events.>",
    "put.v1.>",
    "_INBOX.>",
    "_INBOX.*.*",
    "_INBOX.shop.>",
    "_INBOX.shop.books.>",
    "_INBOX._.telemetry.>",
    "$SYS.>",
    CALLOUT,
    "$SRV.PING",
    "$JS.API.>",
    "$JS.EVENT.>",
    "$KV.>",
)


async def complaints(client: Client, errors: list[str]) -> list[str]:
    """What the server has refused so far: it answers in order, so a last refusal ends the list."""
    await client.publish("the.end", b"")
    await until(lambda: any("the.end" in error for error in errors))
    found, errors[:] = errors[:-1], []
    return found


async def test_a_workload_may_do_what_is_its_own_and_nothing_else(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity():
        errors: list[str] = []
        client = await mesh.client(token=mesh.token(WEB, "web"), errors=errors)

        for subject in ALLOWED:
            await client.publish(subject, b"")
            assert await complaints(client, errors) == [], subject
        for subject in NOT_TO_SAY:
            await client.publish(subject, b"")
            assert "permissions violation for publish" in str(await complaints(client, errors))
        for subject in TO_HEAR:
            await client.subscribe(subject)
            assert await complaints(client, errors) == [], subject
        for subject in NOT_TO_HEAR:
            await client.subscribe(subject)
            found = str(await complaints(client, errors))
            assert "permissions violation for subscription" in found, subject
        for subject in TO_HEAR:
            await client.subscribe(subject, queue="thieves")
            found = str(await complaints(client, errors))
            assert "permissions violation for subscription" in found, subject
        await client.close()


@pytest.mark.parametrize("role", [role for role in ROLES if role != "identity"])
async def test_no_other_service_hears_tokens_or_requests_for_certificates(
    tmp_path: Path, role: Role
) -> None:
    async with nats(tmp_path) as mesh:
        errors: list[str] = []
        seed = mesh.directory.user(role).seed
        client = await mesh.client(seed=seed, errors=errors)

        for subject in (CALLOUT, "$SYS.>", ">", "tulle.v1.identity.certify.>", "_INBOX.shop.web.>"):
            await client.subscribe(subject)
            found = str(await complaints(client, errors))
            assert "permissions violation for subscription" in found, subject
        for subject in (CALLOUT, "put.v1.mesh.trust", "tulle.v1.mesh.trust", "tulle.v1.ack.a.b"):
            await client.publish(subject, b"")
            assert "permissions violation for publish" in str(await complaints(client, errors))
        await client.close()


async def test_a_certificate_for_somebody_else_is_refused_with_the_reason(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity():
        async with _web(mesh) as bus:
            csr = signing_request(Identity("shop", "books"), BOOKS, generate_key())

            with pytest.raises(Refused, match="UID=books"):
                await bus.request(subjects.certify(WEB_ID, WEB), CertifyRequest(csr=csr))
            with pytest.raises(Refused, match="expected PKCS#10 in DER"):
                await bus.request(subjects.certify(WEB_ID, WEB), CertifyRequest(csr=b"\0\1"))
        await until(lambda: mesh.identity_log().count("what=refused") == 2)


async def test_certificates_are_given_out_at_a_bounded_rate(tmp_path: Path) -> None:
    async def ask_again_and_again(bus: Bus) -> None:
        for _ in range(30):
            await certified(bus, WEB_ID, WEB)

    async with nats(tmp_path) as mesh, mesh.identity(), _web(mesh) as bus:
        with pytest.raises(Refused, match="too many requests for certificates"):
            await ask_again_and_again(bus)


async def test_an_answer_is_written_to_inboxes_only(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity(), mesh.role("operator") as operator:
        before = await _trust(operator)
        client = await mesh.client(token=mesh.token(WEB, "web"))
        csr = signing_request(WEB_ID, WEB, generate_key())
        question = subjects.certify(WEB_ID, WEB)
        payload = question.question.encode(CertifyRequest(csr=csr))

        # Identity may write the trust bundle, and whoever asks names where the answer goes.
        await client.publish(question.subject, payload, reply="put.v1.mesh.trust")
        await client.publish(question.subject, b"nonsense", reply="put.v1.mesh.trust")
        await client.flush()
        await client.close()

        async with _web(mesh) as bus:
            await certified(bus, WEB_ID, WEB)
        assert await _trust(operator) == before


async def test_a_restart_publishes_nothing_if_nothing_changed(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.role("operator") as operator:
        async with mesh.identity():
            first = await _trust(operator)
        async with mesh.identity(), mesh.identity():
            await until(lambda: "lease acquired" in mesh.identity_log())
            async with _web(mesh):
                pass

        assert await _trust(operator) == first


async def test_a_damaged_bundle_is_written_over(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.role("operator") as operator:
        async with mesh.identity():
            first = await _trust(operator)
        client = await mesh.client(seed=mesh.directory.user("identity").seed)
        await client.publish("put.v1.mesh.trust", b'{"trust_domain": 5}')
        await client.flush()
        await client.close()

        async with mesh.identity():
            assert await _trust(operator, above=first + 1) == first + 2


async def test_many_who_come_at_once_are_all_admitted(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity():
        tokens = [mesh.token(WorkloadName("shop", f"web-{n}"), "web") for n in range(100)]
        told: list[str] = []

        async def knock(token: str) -> None:
            told.append(await refusal(mesh, token))

        async with anyio.create_task_group() as group:
            for token in tokens:
                group.start_soon(knock, token)

        assert told == [""] * len(tokens)


def _last_says(events: list[Event], reason: str) -> bool:
    return bool(events) and reason in events[-1].message


async def _trust(bus: Bus, above: int = 0) -> int:
    """The revision of the trust bundle, once there is a readable one above."""
    revision = 0
    follower = bus.follow(subjects.trust(), lambda _, __: None)
    await until(lambda: follower.document is not None and follower.revision > above)
    revision = follower.revision
    follower.close()
    return revision


def _other_audience(pem: bytes, now: float) -> str:
    key = load_key(pem)
    claims = JoinToken(
        aud="shop.example",
        iss="cluster.local",
        jti="1",
        iat=now,
        exp=now + 60,
        namespace="shop",
        service_account="web",
        workload="web-1",
    )
    return jwt.sign(claims, key, kid=fingerprint(key.public_key()))
