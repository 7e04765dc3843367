"""Whoever should not come in does not, however they try, and learns nothing of why; nothing secret is told."""

import asyncio
import base64
import json
import os
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import anyio
import pytest
from nats.errors import Error as NatsError

from common.clock import SystemClock
from common.contract import subjects
from common.contract.identity import CertifyRequest
from common.names import Identity, WorkloadName
from common.nats_server import NatsServer, free_port
from common.x509 import bus_context, chain_pem, generate_key, key_pem, load_der, signing_request
from services.identity import accounts, callout, nats_files, nkey, server_certificate
from services.identity.authority import Authority
from services.identity.bootstrap import bootstrap
from services.identity.callout import Knock
from services.identity.directory import MeshDirectory
from services.identity.nats_config import NOBODY
from services.identity.permissions import CALLOUT, Permissions
from services.identity.progress import FORWARD
from services.identity.roots import NODE
from services.identity.steps import Steps
from services.identity.tokens import issue
from tests.support import hostile
from tests.support.hostile import WEB
from tests.support.identity import Mesh
from tests.support.nats import until
from tests.support.wire import wire

pytestmark = pytest.mark.anyio

VIOLATION = "-ERR 'Authorization Violation'"
"""All that anybody hears who is not let in."""


@pytest.fixture(scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with hostile.attacked(tmp_path_factory.mktemp("mesh")) as made:
        yield made


async def test_without_tls_nobody_says_or_hears_anything(mesh: Mesh) -> None:
    token = mesh.token(WorkloadName("shop", "plain"), "web")
    async with wire(mesh, secured=False) as plain:
        assert plain.info["tls_required"] is True
        heard = await plain.connect(auth_token=token)
        told = await plain.say("SUB > 1", "PUB put.v1.mesh.trust 1", "x")

    assert [line for line in (*heard, *told) if line.startswith(("MSG", "HMSG"))] == []
    assert heard == []
    assert token not in mesh.identity_log()


async def test_an_older_tls_is_not_spoken(mesh: Mesh) -> None:
    context = bus_context(mesh.anchors_pem)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with wire(mesh, secured=False) as old:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await old.secure(context)


async def test_a_client_does_not_talk_to_a_server_below_another_anchor(
    mesh: Mesh, tmp_path: Path
) -> None:
    other = bootstrap(tmp_path / "other").anchors_file.read_text()
    async with wire(mesh, secured=False) as one:
        with pytest.raises(ssl.SSLCertVerificationError):
            await one.secure(bus_context(other))
    async with wire(mesh, secured=False) as one:
        with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'nats\.example'"):
            await one.secure(bus_context(mesh.anchors_pem), "nats.example")


ADA, OTHER_ACCOUNT = nkey.generate(nkey.USER), nkey.generate(nkey.ACCOUNT)


def signed(key: nkey.KeyPair, nonce: object) -> str:
    return base64.urlsafe_b64encode(key.sign(str(nonce).encode())).rstrip(b"=").decode()


def _user_jwt(mesh: Mesh, issuer: nkey.KeyPair) -> str:
    """A user's JWT such as NATS gets in an answer, with all rights."""
    knock = Knock(user=ADA.public, server="N", token="")
    everything = Permissions(publish=(">",), subscribe=(">",))
    answer = callout.admit(
        knock, issuer, "ada", everything, SystemClock.now(), into=accounts.MESH
    ).decode()
    claims = json.loads(base64.urlsafe_b64decode(answer.split(".")[1] + "=="))
    return str(claims["nats"]["jwt"])


Options = Callable[[Mesh, object], dict[str, object]]
CONNECTS: dict[str, Options] = {
    "nothing": lambda _mesh, _nonce: {},
    "an empty token": lambda _mesh, _nonce: {"auth_token": ""},
    "a word": lambda _mesh, _nonce: {"auth_token": "secret"},
    "a user and a password": lambda _mesh, _nonce: {"user": "identity", "pass": "identity"},
    "the name of NATS's nodes": lambda _mesh, _nonce: {"user": NODE, "pass": ""},
    "the key that nobody has, unsigned": lambda _mesh, _nonce: {"nkey": NOBODY},
    "the key that nobody has, signed by another": lambda _mesh, nonce: {
        "nkey": NOBODY,
        "sig": signed(ADA, nonce),
    },
    "the name of a workload": lambda _mesh, _nonce: {"user": "shop/web-1"},
    "the account's public key as a user": lambda mesh, _nonce: {
        "user": mesh.directory.account().public
    },
    "a service's public key, unsigned": lambda mesh, _nonce: {
        "nkey": mesh.directory.user("identity").public
    },
    "a service's public key, signed by another": lambda mesh, nonce: {
        "nkey": mesh.directory.user("identity").public,
        "sig": signed(ADA, nonce),
    },
    "a service's key that signed another nonce": lambda mesh, _nonce: {
        "nkey": mesh.directory.user("identity").public,
        "sig": signed(mesh.directory.user("identity"), "another"),
    },
    "an unknown key": lambda _mesh, nonce: {"nkey": ADA.public, "sig": signed(ADA, nonce)},
    "an account's key": lambda mesh, nonce: {
        "nkey": mesh.directory.account().public,
        "sig": signed(mesh.directory.account(), nonce),
    },
    "a user's JWT of our own account": lambda mesh, nonce: {
        "jwt": _user_jwt(mesh, mesh.directory.account()),
        "nkey": ADA.public,
        "sig": signed(ADA, nonce),
    },
    "a user's JWT of another account": lambda mesh, nonce: {
        "jwt": _user_jwt(mesh, OTHER_ACCOUNT),
        "nkey": ADA.public,
        "sig": signed(ADA, nonce),
    },
    "a user's JWT as a token": lambda mesh, _nonce: {
        "auth_token": _user_jwt(mesh, mesh.directory.account())
    },
    "a join token as a password": lambda mesh, _nonce: {
        "user": "shop/web-1",
        "pass": mesh.token(WEB, "web"),
    },
    "a join token of another mesh": lambda mesh, _nonce: {"auth_token": _foreign(mesh)},
    "a token of a hundred dots": lambda _mesh, _nonce: {"auth_token": "." * 100},
    "a token with no bytes one can print": lambda _mesh, _nonce: {"auth_token": "\0\x1b[2J\udcff"},
}


def _foreign(mesh: Mesh) -> str:
    now = SystemClock.now()
    return issue(key_pem(generate_key()), WEB, "web", trust_domain=mesh.trust_domain, now=now)


@pytest.mark.parametrize("shown", CONNECTS)
async def test_whoever_shows_nothing_good_hears_the_same_and_is_outside(
    mesh: Mesh, shown: str
) -> None:
    async with wire(mesh) as one:
        heard = await one.connect(**CONNECTS[shown](mesh, one.info["nonce"]))

        assert heard == [VIOLATION]
        assert one.closed


async def test_whoever_speaks_before_they_are_admitted_is_not_heard(mesh: Mesh) -> None:
    operator = await hostile.role(mesh, "operator")
    heard: list[str] = []

    async def hear(message: object) -> None:
        heard.append(str(getattr(message, "subject", "")))

    await operator.client.subscribe("tulle.v1.metrics.>", cb=hear)
    assert await operator.refused() == []
    async with wire(mesh) as one:
        assert await one.say("PUB tulle.v1.metrics.shop.web-1 1", "x", "SUB > 1") == [VIOLATION]
    assert await operator.refused() == []
    assert heard == []
    await operator.client.close()


async def test_a_line_without_an_end_is_cut_off(mesh: Mesh) -> None:
    async with wire(mesh) as one:
        heard = await one.connect(auth_token="x" * 100_000)

        assert heard == ["-ERR 'maximum control line exceeded'"]
        assert one.closed


async def test_a_token_that_was_tampered_with_is_refused_and_the_good_one_is_not_spoilt(
    mesh: Mesh,
) -> None:
    good = mesh.token(WorkloadName("shop", "tampered"), "web")
    for at in (5, len(good) // 2, len(good) - 2):
        other = "A" if good[at] != "A" else "B"
        async with wire(mesh) as one:
            assert await one.connect(auth_token=good[:at] + other + good[at + 1 :]) == [VIOLATION]
    async with wire(mesh) as one:
        assert await one.connect(auth_token=good) == []


async def test_no_token_is_told_to_anybody(mesh: Mesh) -> None:
    """Neither on the bus, nor in a log, nor in what streams hold; the question itself is sealed."""
    operator = await hostile.role(mesh, "operator")
    heard: list[bytes] = []

    async def hear(message: object) -> None:
        heard.append(getattr(message, "data", b""))

    for pattern in (subjects.EVERYTHING, "$JS.EVENT.>"):
        await operator.client.subscribe(pattern, cb=hear)
    assert await operator.refused() == []
    tokens = [
        mesh.token(WorkloadName("shop", "told"), "web"),
        mesh.token(WorkloadName("shop", "told"), now=SystemClock.now() - 7200),
        _foreign(mesh),
    ]
    for token in tokens:
        async with wire(mesh) as one:
            await one.connect(auth_token=token)
    await until(lambda: b"".join(heard).count(b"refused") >= 2)

    everything = b"".join(heard) + mesh.identity_log().encode()
    everything += mesh.server.log_file.read_bytes()
    stored = [path.read_bytes() for path in (mesh.work / "store").rglob("*") if path.is_file()]
    for token in tokens:
        signature = token.rpartition(".")[2].encode()
        assert signature not in everything
        assert not [data for data in stored if signature in data]
    await operator.client.close()


async def test_the_question_that_holds_a_token_is_sealed_for_identity_alone(mesh: Mesh) -> None:
    """Whoever stole its key to the bus hears questions in its place, and cannot read them."""
    thief = await hostile.role(mesh, "identity")
    heard: list[bytes] = []

    async def hear(message: object) -> None:
        heard.append(getattr(message, "data", b""))

    await thief.client.subscribe(CALLOUT, "identity", cb=hear)
    assert await thief.refused() == []
    token = mesh.token(WorkloadName("shop", "sealed"), "web")
    async with AsyncExitStack() as stack:
        for _ in range(30):
            one = await stack.enter_async_context(wire(mesh))
            one.knock(auth_token=token)
        await until(lambda: heard)
    await thief.client.close()

    _, claims, signature = token.split(".")
    for question in heard:
        assert question.startswith(b"xkv1")
        assert claims.encode() not in question
        assert signature.encode() not in question


async def test_who_asks_for_another_s_certificate_is_told_nothing_by_anybody(mesh: Mesh) -> None:
    taken_over = await hostile.workload(mesh, WorkloadName("shop", "asker"))
    csr = signing_request(Identity("shop", "books"), WorkloadName("shop", "books"), generate_key())
    payload = subjects.certify_any().question.encode(CertifyRequest(csr=csr))
    others = "tulle.v1.identity.certify.shop.books.books"

    with pytest.raises(NatsError), anyio.fail_after(5):
        await taken_over.client.request(others, payload, timeout=0.5)
    assert len(await taken_over.refused()) == 1
    await taken_over.client.close()


async def test_a_leaf_does_not_make_its_holder_a_node(tmp_path: Path) -> None:
    """Routes are TLS with certificates of the same anchor as everybody's: a name keeps them apart."""
    ports = [free_port() for _ in range(3)]
    nodes = [
        nats_files.parse_node(f"n{n}=127.0.0.1:{free_port()}:{p}") for n, p in enumerate(ports)
    ]
    directory = bootstrap(tmp_path / "mesh", nodes=nodes, store_dir=tmp_path / "store")
    async with NatsServer(directory.node_config_file("n0"), scheme="tls"):
        with_leaf = _with_certificate(directory, tmp_path)
        without, as_nats = (bus_context(directory.anchors_file.read_text()) for _ in range(2))
        as_nats.load_cert_chain(directory.server_file, directory.server_key_file)
        connect = f'CONNECT {{"user":"{NODE}","verbose":false,"tls_required":true}}'
        attempts = {
            "the name of nodes": (with_leaf, connect),
            "none": (with_leaf, 'CONNECT {"verbose":false}'),
        }
        for context, line in attempts.values():
            assert "Authorization Violation" in await _as_node(ports[0], context, line)
        # Without a certificate TLS 1.3 ends after the handshake, with the first byte.
        assert await _as_node(ports[0], without, connect) == ""
        assert await _as_node(ports[0], as_nats, connect, "PONG")


async def test_a_certificate_of_before_makes_no_node_once_its_anchor_is_gone(
    tmp_path: Path,
) -> None:
    nodes = [nats_files.parse_node(f"n{n}=127.0.0.1:{free_port()}:{free_port()}") for n in range(3)]
    directory = bootstrap(tmp_path / "mesh", nodes=nodes, store_dir=tmp_path / "store")
    stolen = tmp_path / "stolen.pem"
    stolen.write_bytes(directory.server_file.read_bytes() + directory.server_key_file.read_bytes())
    connect, route = 'CONNECT {"verbose":false,"tls_required":true}', nodes[0].route_port
    async with NatsServer(directory.node_config_file("n0"), scheme="tls") as server:
        before = bus_context(directory.anchors_file.read_text())
        before.load_cert_chain(stolen)
        assert await _as_node(route, before, connect, "PONG")

        steps = Steps(directory, directory.bus().trust_domain, 3600.0, SystemClock())
        steps.resume()
        for step in FORWARD.values():
            steps.take(step)
        server_certificate.renew(directory, SystemClock.now())
        assert server.pid
        os.kill(server.pid, signal.SIGHUP)
        await until(lambda: "Reloaded server configuration" in server.log_file.read_text())

        after = bus_context(directory.anchors_file.read_text())
        after.load_cert_chain(stolen)
        assert await _as_node(route, after, connect) == ""
        after.load_cert_chain(directory.server_file, directory.server_key_file)
        assert await _as_node(route, after, connect, "PONG")


def _with_certificate(directory: MeshDirectory, work: Path) -> ssl.SSLContext:
    key = generate_key()
    identity, now = Identity("shop", "web", directory.bus().trust_domain), SystemClock.now()
    request = signing_request(identity, WEB, key)
    issued = Authority(directory.issuer()).certify(request, identity, WEB, now)
    (work / "leaf.pem").write_bytes(
        chain_pem([load_der(der) for der in issued.chain]) + key_pem(key)
    )
    context = bus_context(directory.anchors_file.read_text())
    context.load_cert_chain(work / "leaf.pem")
    return context


async def _as_node(port: int, context: ssl.SSLContext, line: str, until: str = "\0") -> str:
    """What a node says, `until` that, to somebody who claims to be one; empty if it just ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(f"{line}\r\nPING\r\n".encode())
        heard = b""
        async with asyncio.timeout(10):
            with suppress(OSError):
                while until.encode() not in heard and (more := await reader.read(100_000)):
                    heard += more
        return heard.decode("latin-1")
    finally:
        writer.transport.abort()
