"""A proxy's credentials: got, kept, renewed, and never worse than before."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path

import anyio
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from common import jwt
from common.bus import Bus
from common.clock import ManualClock, SystemClock
from common.contract import subjects
from common.contract.identity import Proof, TrustBundle, TrustChange
from common.errors import InvalidSettings, InvalidToken, Refused
from common.names import Identity, WorkloadName
from common.x509 import chain_pem, generate_key, key_pem, load_der, peer_identity, server_context
from proxy.control.certify import LEAF_FILE, Credentials, Held
from proxy.control.trust import TRUST_FILE, Trust
from tests.support.identity import Mesh, nats
from tests.support.nats import until
from tests.support.pki import Leaf, Pki
from tests.support.tls import shake

WEB = WorkloadName("shop", "web-1")
WEB_ID = Identity("shop", "web")


def prepared(tmp_path: Path, pki: Pki, token: str = "a-token") -> Path:
    """Files that a proxy is started with."""
    (tmp_path / "anchors.pem").write_text(pki.anchors_pem)
    (tmp_path / "token").write_text(token + "\n")
    (tmp_path / "state").mkdir(mode=0o700, exist_ok=True)
    return tmp_path


def credentials(
    files: Path, clock: ManualClock | None = None, *, token: bool = True
) -> Credentials:
    return Credentials(
        WEB_ID,
        WEB,
        state_dir=files / "state",
        anchors_file=files / "anchors.pem",
        token_file=files / "token" if token else None,
        clock=clock,
    )


def keep(files: Path, leaf: Leaf) -> None:
    (files / "state" / LEAF_FILE).write_bytes(leaf.pem)


def held(of: Credentials) -> Held:
    assert of.current.value is not None
    return of.current.value


def said(token: str) -> Proof:
    """What a proof says, if the key of the leaf in it signed it."""
    jws = jwt.parse(token)
    key = load_der(jws.chain()[0]).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return jws.verify(key, Proof)


def test_the_first_way_in_is_the_join_token_read_afresh(tmp_path: Path) -> None:
    ours = credentials(prepared(tmp_path, Pki()))

    assert ours.bus_token() == "a-token"
    (tmp_path / "token").write_text("another")
    assert ours.bus_token() == "another"
    assert ours.current.value is None


def test_what_was_kept_is_taken_up_and_shown_as_a_proof(tmp_path: Path) -> None:
    pki = Pki()
    keep(prepared(tmp_path, pki), pki.leaf("web", "web-1"))

    ours = credentials(tmp_path, token=False)

    assert held(ours).identity == WEB_ID
    assert held(ours).valid(SystemClock.now())
    proof = said(ours.bus_token())
    assert (proof.aud, proof.workload) == ("bus.tulle.dev", "shop/web-1")
    assert proof.exp - proof.iat == 60


def test_a_proof_that_opens_no_door_is_followed_by_the_token(tmp_path: Path) -> None:
    pki = Pki()
    keep(prepared(tmp_path, pki), pki.leaf("web", "web-1"))
    ours = credentials(tmp_path)

    shown = [ours.bus_token() for _ in range(4)]

    assert [token == "a-token" for token in shown] == [False, True, False, True]
    (tmp_path / "token").unlink()
    assert all(said(ours.bus_token()) for _ in range(3))


def test_a_leaf_that_has_ended_proves_nothing(tmp_path: Path) -> None:
    pki, clock = Pki(now=1_700_000_000.0), ManualClock(1_700_000_000.0)
    keep(prepared(tmp_path, pki), pki.leaf("web", "web-1", seconds=100))
    ours = credentials(tmp_path, clock)
    assert held(ours).valid(clock.now())

    clock.advance(101)

    assert not held(ours).valid(clock.now())
    assert ours.bus_token() == "a-token"


def test_without_leaf_and_token_the_error_says_what_is_missing(tmp_path: Path) -> None:
    ours = credentials(prepared(tmp_path, Pki()), token=False)
    with pytest.raises(InvalidToken, match="expected TULLE_TOKEN_FILE"):
        ours.bus_token()

    ours = credentials(tmp_path)
    (tmp_path / "token").write_text(" \n")
    with pytest.raises(InvalidToken, match=r"TULLE_TOKEN_FILE=.*token: is empty"):
        ours.bus_token()
    (tmp_path / "token").unlink()
    with pytest.raises(InvalidToken, match=r"TULLE_TOKEN_FILE=.*No such file"):
        ours.bus_token()


def _strange_states(pki: Pki) -> dict[str, tuple[bytes, str]]:
    web, other = pki.leaf("web", "web-1"), Pki(now=pki.now)
    return {
        "nothing": (b"", "key"),
        "half": (web.pem[: len(web.pem) // 2], "PEM"),
        "no-key": (chain_pem(web.chain), "key"),
        "no-leaf": (key_pem(web.key), "certificates"),
        "other-key": (key_pem(generate_key()) + chain_pem(web.chain), "another key"),
        "other-account": (pki.leaf("books", "web-1").pem, "not of shop/web-1"),
        "other-workload": (pki.leaf("web", "web-2").pem, "not of shop/web-1"),
        "other-mesh": (other.leaf("web", "web-1").pem, "does not lead to an anchor"),
    }


@pytest.mark.parametrize("name", list(_strange_states(Pki())))
def test_a_kept_leaf_that_does_not_serve_is_named_and_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    pki = Pki()
    data, reason = _strange_states(pki)[name]
    (prepared(tmp_path, pki) / "state" / LEAF_FILE).write_bytes(data)

    ours = credentials(tmp_path)

    assert ours.current.value is None
    assert ours.bus_token() == "a-token"
    (record,) = caplog.records
    assert "kept certificate not used" in record.getMessage()
    assert reason in str(record.__dict__["fields"]["error"])


@pytest.mark.parametrize("content", [b"", b"{", b'{"revision": 1}', b"[]"])
def test_a_kept_bundle_that_does_not_serve_is_named_and_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    pki = Pki()
    (prepared(tmp_path, pki) / "state" / TRUST_FILE).write_bytes(content)

    assert credentials(tmp_path).trust_revision == 0
    assert "kept trust bundle not used" in caplog.text


@pytest.mark.parametrize("content", ["", "nothing", None])
def test_anchors_that_cannot_be_used_are_a_mistake_in_the_settings(
    tmp_path: Path, content: str | None
) -> None:
    prepared(tmp_path, Pki())
    if content is None:
        (tmp_path / "anchors.pem").unlink()
    else:
        (tmp_path / "anchors.pem").write_text(content)

    with pytest.raises(InvalidSettings, match="TULLE_TRUST_ANCHORS_FILE="):
        credentials(tmp_path)


def test_a_state_directory_that_cannot_be_made_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    prepared(tmp_path, Pki())
    (tmp_path / "state").rmdir()
    (tmp_path / "state").write_text("")

    with pytest.raises(InvalidSettings, match="TULLE_STATE_DIR="):
        credentials(tmp_path)


def test_a_bundle_is_kept_and_an_older_or_broken_one_never_replaces_it(tmp_path: Path) -> None:
    old, new = Pki(), Pki()
    files = prepared(tmp_path, old)
    trust = Trust("cluster.local", files / "state", files / "anchors.pem")
    both = TrustBundle(trust_domain="cluster.local", anchors=(old.anchors_pem, new.anchors_pem))

    assert trust.update(both, 7)
    assert trust.anchors == [*old.anchor.chain, *new.anchor.chain]
    for bundle, revision in (
        (TrustBundle(trust_domain="cluster.local", anchors=(old.anchors_pem,)), 6),
        (TrustBundle(trust_domain="cluster.local", anchors=()), 8),
        (TrustBundle(trust_domain="cluster.local", anchors=("nonsense",)), 8),
        (TrustBundle(trust_domain="other.example", anchors=(old.anchors_pem,)), 8),
        (TrustBundle(trust_domain="cluster.local", anchors=(old.anchors_pem,), deleted=True), 8),
        (None, 0),
    ):
        assert not trust.update(bundle, revision)
    again = Trust("cluster.local", files / "state", files / "anchors.pem")
    assert (again.revision, again.anchors) == (7, trust.anchors)
    assert (files / "state" / TRUST_FILE).stat().st_mode & 0o777 == 0o600


@asynccontextmanager
async def proxy(mesh: Mesh, ours: Credentials) -> AsyncIterator[Bus]:
    """The part of a proxy that keeps its credentials."""
    bus = Bus(
        [mesh.server.url],
        name=str(WEB),
        tls=ours.bus_context,
        token=ours.bus_token,
        inbox_prefix=subjects.inbox(WEB),
        says_below=subjects.SAID,
    )
    async with bus, anyio.create_task_group() as group:
        group.start_soon(ours.run, bus)
        yield bus
        group.cancel_scope.cancel()


def started(tmp_path: Path, mesh: Mesh) -> Path:
    files = tmp_path / "proxy"
    files.mkdir(exist_ok=True)
    (files / "anchors.pem").write_text(mesh.anchors_pem)
    (files / "token").write_text(mesh.token(WEB, "web"))
    return files


@pytest.mark.anyio
async def test_a_proxy_joins_once_and_comes_back_by_its_leaf(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity():
        files = started(tmp_path, mesh)
        ours = credentials(files)
        async with proxy(mesh, ours):
            await until(lambda: ours.current.value and ours.trust_revision)
        leaf_file = files / "state" / LEAF_FILE
        assert leaf_file.stat().st_mode & 0o777 == 0o600
        assert leaf_file.parent.stat().st_mode & 0o777 == 0o700

        (files / "token").unlink()
        again = credentials(files, token=False)
        assert held(again).chain == held(ours).chain
        assert again.trust_revision == ours.trust_revision
        async with proxy(mesh, again) as bus:
            await until(lambda: bus.connected.value)
        assert again.renewals == 0
        assert "by=proof" in mesh.identity_log()


@pytest.mark.anyio
async def test_a_leaf_is_renewed_in_time_and_what_is_open_stays_open(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity(leaf_seconds=4):
        ours = credentials(started(tmp_path, mesh))
        seen: list[tuple[float, Held]] = []
        ours.current.on_change(
            lambda now: seen.append((SystemClock.now(), now)) if now is not None else None
        )
        async with proxy(mesh, ours) as bus:
            await until(lambda: seen)
            first = seen[0][1]
            client, server = shake(first.client_context, first.server_context, WEB_ID.dns_name)
            await until(lambda: ours.renewals >= 3, seconds=20)
            assert bus.stats.connections == 1

    for (_, before), (when, after) in pairwise(seen):
        assert before.valid(when)
        if after.chain == before.chain:  # another bundle, the same leaf
            continue
        assert after.key is not before.key
        # The life is counted from the second in which it was signed.
        assert 0.2 < before.not_after - when < 4 * 0.3 + 1.1
    last = seen[-1][1]
    assert peer_identity(shake(last.client_context, last.server_context, WEB_ID.dns_name)[1])
    server.write(b"still here")
    assert client.read(10) == b"still here"


@pytest.mark.anyio
async def test_identity_may_be_away_when_a_leaf_is_to_be_renewed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with nats(tmp_path) as mesh:
        ours = credentials(started(tmp_path, mesh))
        async with AsyncExitStack() as stack:
            async with mesh.identity(leaf_seconds=4):
                bus = await stack.enter_async_context(proxy(mesh, ours))
                await until(lambda: ours.current.value and ours.trust_revision)
            before = held(ours)
            await until(lambda: "no new certificate" in caplog.text)
            assert held(ours) is before
            assert before.valid(SystemClock.now())

            async with mesh.identity(leaf_seconds=4):
                await until(lambda: ours.renewals == 2)
            assert bus.stats.connections == 1


@pytest.mark.anyio
async def test_another_bundle_applies_to_the_next_handshake(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity():
        ours, other = credentials(started(tmp_path, mesh)), Pki()
        stranger = other.leaf("books")
        async with proxy(mesh, ours):
            await until(lambda: ours.current.value and ours.trust_revision)
            before = held(ours)
            bundle = TrustBundle(
                trust_domain="cluster.local", anchors=(mesh.anchors_pem, other.anchors_pem)
            )
            async with mesh.role("identity") as identity:
                await identity.put(subjects.trust(), bundle, expected=ours.trust_revision)
            await until(lambda: held(ours) is not before)

    theirs = server_context(stranger.pem, mesh.anchors_pem + other.anchors_pem)
    name = Identity("shop", "books").dns_name
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(before.client_context, theirs, name)
    client, _ = shake(held(ours).client_context, theirs, name)
    assert peer_identity(client) == Identity("shop", "books")
    assert held(ours).trust_revision == ours.trust_revision


def test_the_file_of_anchors_is_read_afresh_for_each_connection_to_the_bus(tmp_path: Path) -> None:
    old, new = Pki(), Pki()
    ours = credentials(prepared(tmp_path, old))
    assert len(ours.bus_context().get_ca_certs()) == 1

    (tmp_path / "anchors.pem").write_text(old.anchors_pem + new.anchors_pem)
    assert len(ours.bus_context().get_ca_certs()) == 2

    (tmp_path / "anchors.pem").write_text("nonsense")
    assert len(ours.bus_context().get_ca_certs()) == 2, "what was good stays"


def test_a_bundle_without_an_anchor_that_was_there_says_from_when_on_it_is_gone(
    tmp_path: Path,
) -> None:
    old, new = Pki(), Pki()
    files = prepared(tmp_path, old)
    trust = Trust("cluster.local", files / "state", files / "anchors.pem")
    only_new = TrustBundle(trust_domain="cluster.local", anchors=(new.anchors_pem,))
    both = TrustBundle(trust_domain="cluster.local", anchors=(old.anchors_pem, new.anchors_pem))

    trust.update(both, 7)
    assert trust.removed_at == 0
    trust.update(only_new, 9)
    trust.update(msgspec.structs.replace(only_new, phase="removed"), 11)

    assert trust.removed_at == 9


def test_a_removed_anchor_is_believed_no_more_though_our_own_leaf_is_below_it(
    tmp_path: Path,
) -> None:
    old, new = Pki(), Pki()
    files = prepared(tmp_path, old)
    keep(files, old.leaf("web", WEB.name))
    ours = credentials(files)
    before = held(ours)
    name = Identity("shop", "books").dns_name

    ours._on_trust(TrustBundle(trust_domain="cluster.local", anchors=(new.anchors_pem,)), 5)

    both = old.anchors_pem + new.anchors_pem
    shake(before.client_context, server_context(old.leaf("books").pem, both), name)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(held(ours).client_context, server_context(old.leaf("books").pem, both), name)
    shake(held(ours).client_context, server_context(new.leaf("books").pem, both), name)
    assert held(ours).chain == before.chain
    assert held(ours).trust_revision == 5


async def switched(operator: Bus) -> None:
    """Have another anchor sign, as soon as identity itself has acknowledged it; the old one stays."""
    with anyio.fail_after(30):
        while True:
            try:
                change = TrustChange(step="switch")
                await operator.request(subjects.trust_change(), change, timeout=10)
            except Refused:
                await anyio.sleep(0.1)
            else:
                return


@pytest.mark.anyio
async def test_another_leaf_is_asked_for_as_soon_as_another_anchor_signs(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity(), mesh.role("operator") as operator:
        ours = credentials(started(tmp_path, mesh))
        async with proxy(mesh, ours):
            await until(lambda: ours.current.value and ours.trust_revision)
            before = held(ours)
            add = TrustChange(step="add", leave_behind=(str(WEB),))
            await operator.request(subjects.trust_change(), add, timeout=10)
            await switched(operator)

            await until(lambda: held(ours).chain[0] != before.chain[0], 30)

            assert held(ours).chain[1] != before.chain[1], "another issuer signed it"


@pytest.mark.anyio
async def test_whoever_restarts_before_asking_for_another_leaf_asks_then(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity(), mesh.role("operator") as operator:
        # Its time stands still: it hears that another anchor signs, and never comes to asking.
        still = credentials(started(tmp_path, mesh), ManualClock(SystemClock().now()))
        async with proxy(mesh, still):
            await until(lambda: still.current.value and still.trust_revision)
            before, first = held(still), still.trust_revision
            add = TrustChange(step="add", leave_behind=(str(WEB),))
            await operator.request(subjects.trust_change(), add, timeout=10)
            await switched(operator)
            await until(lambda: still.trust_revision > first + 1)
        ours = credentials(tmp_path / "proxy", token=False)
        assert held(ours).chain == before.chain

        async with proxy(mesh, ours):
            await until(lambda: held(ours).chain[1] != before.chain[1], 30)
