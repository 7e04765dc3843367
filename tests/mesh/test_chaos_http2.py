"""HTTP/2 peers that attack whole proxies, and clients that do not read: nobody else notices."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import anyio
import h2.connection
import h2.events
import pytest

from proxy.codec import http2
from proxy.codec.frames import PREFACE
from proxy.codec.header_blocks import write_block
from proxy.session.http2_connection import STREAMS_LIMIT
from proxy.transport.detect import Protocol
from tests.support import bad_servers, bad_servers_http2
from tests.support.bad_clients import Answer, Line, ask, deaf_sockets, head
from tests.support.chaos import (
    BAD,
    BAD_URL,
    CLIENT,
    application,
    gauges,
    resident_bytes,
    undisturbed,
    until_seen,
    until_stuck,
    until_told,
)
from tests.support.http2_abuse import PING, Attack, against_client, against_server
from tests.support.http2_world import GET, OK, Ledger, headers, oracle, settings, window
from tests.support.mesh import RunningMesh, running_mesh
from tests.support.peers import peer

pytestmark = pytest.mark.anyio
MANY = 200
SLACK = 30_000_000
MUCH = 100_000_000
AT_ONCE = 200
HEALTHY = 20
BODY = 1_500_000
TO_SERVER = against_server([*GET[:2], (b":path", b"/never"), GET[3], *http2.HTTP1])
TO_CLIENT = against_client(OK)
_HTTP1, _HTTP2 = bad_servers.__file__, f"-m {bad_servers_http2.__name__}"
_BOTH = f"{{python}} -P {_HTTP1} {{address}} 8000 & exec {{python}} -P {_HTTP2} {{address}} 8001"
APPLICATION = application(rude=False, bad=f'sh, -c, "{_BOTH}"')


@pytest.fixture(scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningMesh]:
    async with running_mesh(tmp_path_factory.mktemp("mesh"), APPLICATION) as running:
        yield running


class Attacker:
    """A peer that attacks, and listens to what it is told meanwhile."""

    def __init__(self, made: Line) -> None:
        self._made = made
        self._heard = asyncio.Event()
        self.words: list[str] = []
        self.over = False

    async def listen(self) -> None:
        """Until the connection ends."""
        ledger = Ledger()
        with suppress(OSError, ssl.SSLError):
            while said := await self._made.reader.read(65536):
                self.words += ledger.read(said)
                self._heard.set()
        self.over = True
        self._heard.set()

    async def attack(self, how: Attack) -> None:
        """Go on until patience ends, a little at a time: who is cut short may not hear why."""
        with suppress(OSError, ssl.SSLError):
            await self._attack(how)
        await self._until(lambda: False)

    async def _attack(self, how: Attack) -> None:
        await self._made.say(PREFACE, settings(), how.before)
        number = 0
        while not self.over and number < (how.rounds or 100_000):
            times = min(AT_ONCE, how.rounds or AT_ONCE)
            pings = self.words.count("PING ack")
            await self._made.say(*[how.again(n) for n in range(number, number + times)])
            number += times
            if not how.rounds:
                await self._made.say(PING)
                await self._until_pings(pings + 1)

    async def _until_pings(self, count: int) -> None:
        await self._until(lambda: self.words.count("PING ack") >= count)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not self.over and not condition():
            self._heard.clear()
            await self._heard.wait()


async def test_peers_that_attack_are_told_why_they_have_to_leave(mesh: RunningMesh) -> None:
    """Several at once, with a certificate that is as good as any."""
    told: dict[str, str] = {}
    few = anyio.CapacityLimiter(4)

    async def attack(what: str) -> None:
        async with few, peer(mesh, CLIENT, BAD, 8000, Protocol.HTTP2) as made:
            attacker = Attacker(made)
            async with anyio.create_task_group() as group:
                group.start_soon(attacker.listen)
                await attacker.attack(TO_SERVER[what])
            told[what] = attacker.words[-1] if attacker.words else "nothing"

    before = resident_bytes(mesh, BAD)
    async with undisturbed(mesh):
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for what in TO_SERVER:
                    group.start_soon(attack, what)
        assert resident_bytes(mesh, BAD) - before < SLACK
    wrong = {what: said for what, said in told.items() if not said.endswith(TO_SERVER[what].answer)}
    assert wrong == {}


async def fetch(made: Line, judge: h2.connection.H2Connection, path: str) -> str:
    """How a request goes: a status with `tulle-error`, or how it was reset."""
    stream = judge.get_next_available_stream_id()
    fields = {":method": "GET", ":scheme": "http", ":path": path, ":authority": "bad:8001"}
    judge.send_headers(stream, list(fields.items()), end_stream=True)
    outcome = ""
    while True:
        await made.say(judge.data_to_send())
        for event in judge.receive_data(await made.reader.read(65536)):
            assert not isinstance(event, h2.events.ConnectionTerminated)
            if isinstance(event, h2.events.ResponseReceived):
                found = {bytes(name): bytes(value) for name, value in event.headers or []}
                outcome = f"{int(found[b':status'])} {found.get(b'tulle-error', b'').decode()}"
            elif isinstance(event, h2.events.StreamEnded):
                return outcome.strip()
            elif isinstance(event, h2.events.StreamReset):
                return "reset"


async def test_an_application_that_attacks_its_proxy_costs_its_callers_only_what_they_asked_it(
    mesh: RunningMesh,
) -> None:
    """The caller's connection goes on, and so does what others ask the same workload."""
    before = resident_bytes(mesh, BAD)
    told = {}
    async with undisturbed(mesh):
        async with peer(mesh, CLIENT, BAD, 8001, Protocol.HTTP2) as made:
            judge = oracle(client=True)
            judge.initiate_connection()
            with anyio.fail_after(60):
                for number, what in enumerate(TO_CLIENT):
                    told[what] = await fetch(made, judge, f"/{number}")
                    # Meanwhile others on the connection that is attacked may share its fate.
                    while await fetch(made, judge, "/ok") != "200":
                        pass
        assert resident_bytes(mesh, BAD) - before < SLACK
    begun = {what for what, attack in TO_CLIENT.items() if attack.before}
    wrong = {
        what: outcome
        for what, outcome in told.items()
        if outcome != "502 bad-response" and not (outcome == "reset" and what in begun)
    }
    assert wrong == {}


async def test_those_who_read_have_their_downloads_beside_many_who_do_not(
    mesh: RunningMesh,
) -> None:
    """All of them share the one connection between two proxies, and what may wait there."""
    before = resident_bytes(mesh, BAD)
    answers: list[Answer] = []

    async def download() -> None:
        answers.append(await ask(mesh.proxy_url(CLIENT), f"{BAD_URL}/ok/{BODY}"))

    async with undisturbed(mesh):
        deaf = head(f"{BAD_URL}/download/100000000")
        with deaf_sockets(mesh.proxy_url(CLIENT), deaf, MANY):
            await until_stuck(mesh, BAD, "sent")
            with anyio.fail_after(60):
                async with anyio.create_task_group() as group:
                    for _ in range(HEALTHY):
                        group.start_soon(download)
            now = await gauges(mesh, BAD)
            assert now["proxy_http2_waiting_bytes"] < now["proxy_http2_waiting_limit_bytes"]
            assert resident_bytes(mesh, BAD) - before < MUCH
        await until_seen(mesh, BAD, downloads=0)
    assert [(a.status, a.whole, len(a.body)) for a in answers] == [(200, True, 2 * BODY)] * HEALTHY


async def test_a_peer_that_opens_no_window_holds_what_it_asked_for_and_no_more(
    mesh: RunningMesh,
) -> None:
    """As many downloads as there may be streams, on a connection that gives none of them a window."""
    block = write_block([*GET[:2], (b":path", b"/ok/400000"), GET[3], *http2.HTTP1])
    before = resident_bytes(mesh, BAD)
    async with undisturbed(mesh):
        async with peer(mesh, CLIENT, BAD, 8000, Protocol.HTTP2) as made:
            await made.say(PREFACE, settings(INITIAL_WINDOW_SIZE=0), window(0, 2**30))
            await made.say(*[headers(n, block, end=True) for n in range(1, 2 * STREAMS_LIMIT, 2)])
            await until_told(
                mesh, BAD, lambda now: now["proxy_http2_waiting_bytes"] > 40_000 * STREAMS_LIMIT
            )
            now = await gauges(mesh, BAD)
            assert now["proxy_http2_waiting_bytes"] <= now["proxy_http2_waiting_limit_bytes"] / 2
            assert resident_bytes(mesh, BAD) - before < MUCH
        await until_told(mesh, BAD, lambda now: not now["proxy_http2_waiting_bytes"])
