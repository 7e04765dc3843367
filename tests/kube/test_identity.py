"""Identity in a cluster: pods come in by the token of their service account, and only as who they are."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from nats.errors import Error as NatsError

from common import jwt
from common.bus import Bus
from common.clock import SystemClock
from common.contract import subjects
from common.contract.events import Event
from common.contract.identity import PROOF_AUDIENCE, CertifyRequest, Proof
from common.errors import Refused
from common.names import Identity, WorkloadName
from common.x509 import generate_key, holder, key_pem, load_der, load_key, signing_request
from proxy.control.certify import Credentials
from services.identity.tokens import issue
from tests.support.cluster import Cluster
from tests.support.mesh_in_cluster import ClusterMesh, mesh_in_cluster
from tests.support.nats import until, until_told
from tests.support.objects import live_pod
from tests.support.pki import Leaf

pytestmark = pytest.mark.anyio

TROUBLES = ("ermission", "orbidden", "Traceback")
"""What no log may speak of: it has the rights that it needs."""


@pytest.fixture
async def mesh(cluster: Cluster, namespace: str, tmp_path: Path) -> AsyncIterator[ClusterMesh]:
    async with mesh_in_cluster(cluster, namespace, tmp_path) as made:
        yield made
        for trouble in TROUBLES:
            assert trouble not in made.identity_log()


@asynccontextmanager
async def come_in(mesh: ClusterMesh, name: str, token: str) -> AsyncIterator[Bus]:
    async with mesh.workload_bus(WorkloadName(mesh.namespace, name), token) as bus:
        with anyio.fail_after(15):
            await bus.wait_connected()
        yield bus


async def certified(mesh: ClusterMesh, bus: Bus, name: str) -> Leaf:
    key, who = generate_key(), Identity(mesh.namespace, "web")
    workload = WorkloadName(mesh.namespace, name)
    request = CertifyRequest(csr=signing_request(who, workload, key))
    reply = await bus.request(subjects.certify(who, workload), request, timeout=15)
    return Leaf(key, tuple(load_der(der) for der in reply.chain))


async def joined(mesh: ClusterMesh, name: str) -> Leaf:
    async with come_in(mesh, name, mesh.pod_token(name)) as bus:
        return await certified(mesh, bus, name)


def proof(mesh: ClusterMesh, leaf: Leaf, name: str) -> str:
    now = SystemClock.now()
    workload = str(WorkloadName(mesh.namespace, name))
    claims = Proof(aud=PROOF_AUDIENCE, iat=now, exp=now + 60, workload=workload)
    return jwt.sign(claims, leaf.key, x5c=[one.public_bytes(Encoding.DER) for one in leaf.chain])


async def refused(mesh: ClusterMesh, token: str) -> None:
    with pytest.raises(NatsError, match="Authorization Violation"):
        await mesh.client(token=token)


def resigned(mesh: ClusterMesh, token: str, **claims: object) -> str:
    """The token with other claims, signed by the cluster itself."""
    head, body, _ = token.split(".")
    said = json.loads(jwt.unspell(body, "claims")) | claims
    signed = f"{head}.{spelled(json.dumps(said).encode())}"
    key = load_key((mesh.cluster.folder / "accounts.key").read_bytes())
    r, s = decode_dss_signature(key.sign(signed.encode(), ECDSA(SHA256())))
    return f"{signed}.{spelled(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def spelled(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def joining(mesh: ClusterMesh) -> str:
    """A join token, such as somebody makes who has found a key."""
    web, now = WorkloadName(mesh.namespace, "web-1"), SystemClock.now()
    return issue(key_pem(generate_key()), web, "web", trust_domain=mesh.trust_domain, now=now)


async def test_a_pod_comes_in_by_its_token_is_certified_and_comes_back_with_a_proof(
    mesh: ClusterMesh,
) -> None:
    uid = mesh.pod("web-1")
    heard: list[Event] = []
    async with mesh.in_cluster(), mesh.role("operator") as operator:
        admitted = subjects.event("identity", "admitted")
        await operator.listen(admitted, lambda _, event: heard.append(event))
        leaf = await joined(mesh, "web-1")

        web = WorkloadName(mesh.namespace, "web-1")
        assert holder(leaf.chain[0]) == (Identity(mesh.namespace, "web"), web)
        await until(lambda: heard)
        assert (heard[0].fields["by"], heard[0].fields["evidence"]) == ("kubernetes", uid)
        # The kubelet replaces a token, and shows the same one to a container that starts again.
        token = mesh.pod_token("web-1")
        for shown in (token, token, mesh.pod_token("web-1"), proof(mesh, leaf, "web-1")):
            async with come_in(mesh, "web-1", shown):
                pass


async def test_a_token_that_shows_no_pod_is_refused_and_only_we_are_told_why(
    mesh: ClusterMesh,
) -> None:
    for name in ("web-1", "gone", "again", "going"):
        mesh.pod(name, node="n1" if name == "going" else "")
    good = mesh.pod_token("web-1")
    head, body, signature = good.split(".")
    bound = ("--bound-object-kind", "Pod", "--bound-object-name", "web-1")
    gone, again, going = (mesh.pod_token(name) for name in ("gone", "again", "going"))
    for name in ("gone", "again", "going"):
        mesh.cluster.kubectl("delete", "pod", name, "-n", mesh.namespace, "--wait=false")
    mesh.pod("again")
    attempts = {
        "is for 'https://kubernetes.default.svc.cluster.local'; expected": mesh.account_token(
            "web", *bound
        ),
        "is for 'another'": mesh.account_token("web", "--audience", "another", *bound),
        "not bound to a pod": mesh.account_token("web", "--audience", "identity.tulle.dev"),
        "service account token: expired": resigned(mesh, good, exp=SystemClock.now() - 100),
        "expected HEADER.CLAIMS.SIGNATURE": "junk",
        "refused: ": f"{head}.{body}.{signature[:-8]}AAAAAAAA",
        "service account token has been invalidated": gone,
        "does not match service account pod ref claim": again,
        "is being deleted": going,
        "join token: none are known here": joining(mesh),
    }
    heard: list[Event] = []
    async with mesh.in_cluster(), mesh.role("operator") as operator:
        told = subjects.event("identity", "refused")
        await operator.listen(told, lambda _, event: heard.append(event))
        for token in attempts.values():
            await refused(mesh, token)
        await until(lambda: len(heard) >= len(attempts))

    log = mesh.identity_log()
    for reason in attempts:
        assert reason in log
    parts = {part for token in attempts.values() for part in token.split(".") if len(part) > 60}
    assert not [part for part in parts if part in log]


async def test_a_pod_that_is_deleted_is_refused_at_once_whatever_it_shows(
    mesh: ClusterMesh,
) -> None:
    mesh.pod("web-1")
    token = mesh.pod_token("web-1")
    async with mesh.in_cluster(), come_in(mesh, "web-1", token) as bus:
        leaf = await certified(mesh, bus, "web-1")
        mesh.cluster.kubectl("delete", "pod", "web-1", "-n", mesh.namespace)

        # Here and in the API the token was found to be good a moment ago.
        await refused(mesh, token)
        await refused(mesh, proof(mesh, leaf, "web-1"))
        with pytest.raises(Refused, match="web-1: is not there any more"):
            await certified(mesh, bus, "web-1")

    assert "is not there any more" in mesh.identity_log()


async def test_a_leaf_of_an_earlier_pod_of_the_same_name_is_not_the_new_one_s(
    mesh: ClusterMesh,
) -> None:
    mesh.pod("web-1")
    async with mesh.in_cluster():
        leaf = await joined(mesh, "web-1")
        made = live_pod(mesh.namespace, "web-1", "10.1.0.2", stored=True)
        later = datetime.fromtimestamp(SystemClock.now() + 60, UTC)
        made["metadata"]["creationTimestamp"] = later.strftime("%Y-%m-%dT%H:%M:%SZ")
        mesh.cluster.store({f"pods/{mesh.namespace}/web-1": made})

        await until_told(lambda: _younger(mesh, leaf))

    assert "is younger than the leaf" in mesh.identity_log()


async def _younger(mesh: ClusterMesh, leaf: Leaf) -> bool:
    """Whether the leaf is refused by now: the API hears from etcd a moment later."""
    try:
        client = await mesh.client(token=proof(mesh, leaf, "web-1"))
    except NatsError:
        return True
    await client.close()
    return False


async def test_while_the_api_is_away_those_who_are_known_come_back_and_newcomers_wait(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    async with mesh_in_cluster(cluster, namespace, tmp_path) as mesh, mesh.in_cluster():
        mesh.pod("web-1")
        mesh.pod("web-2")
        newcomer = mesh.pod_token("web-2")
        leaf = await joined(mesh, "web-1")
        mesh.cluster.stop_api()
        try:
            async with come_in(mesh, "web-1", proof(mesh, leaf, "web-1")) as bus:
                await certified(mesh, bus, "web-1")
            await refused(mesh, newcomer)
        finally:
            mesh.cluster.start_api()
            await until(mesh.cluster.ready, 60)
        async with come_in(mesh, "web-2", newcomer):
            pass

    assert "reason=kubernetes-unavailable" in mesh.identity_log()


async def test_a_proxy_shows_the_token_that_the_kubelet_has_put_in_place_of_another(
    mesh: ClusterMesh, tmp_path: Path
) -> None:
    mesh.pod("web-1")
    token, anchors = tmp_path / "token", tmp_path / "anchors.pem"
    anchors.write_text(mesh.anchors_pem)
    token.write_text(mesh.account_token("web", "--audience", "identity.tulle.dev"))
    web = WorkloadName(mesh.namespace, "web-1")
    credentials = Credentials(
        Identity(mesh.namespace, "web"),
        web,
        state_dir=tmp_path / "state",
        anchors_file=anchors,
        token_file=token,
    )
    async with (
        mesh.in_cluster(),
        Bus(
            [mesh.server.url],
            name=str(web),
            tls=credentials.bus_context,
            token=credentials.bus_token,
            inbox_prefix=subjects.inbox(web),
        ) as bus,
        anyio.create_task_group() as group,
    ):
        group.start_soon(credentials.run, bus)
        await until(lambda: "not bound to a pod" in mesh.identity_log(), 20)
        token.write_text(mesh.pod_token("web-1"))

        await until(lambda: credentials.current.value, 30)
        group.cancel_scope.cancel()


async def test_join_tokens_are_known_where_the_mesh_has_a_key_for_them(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    async with (
        mesh_in_cluster(cluster, namespace, tmp_path, join_tokens=True) as mesh,
        mesh.in_cluster(),
    ):
        web = WorkloadName(namespace, "vm-1")
        async with come_in(mesh, "vm-1", mesh.token(web, "web")) as bus:
            leaf = await certified(mesh, bus, "vm-1")
        async with come_in(mesh, "vm-1", proof(mesh, leaf, "vm-1")):
            pass
