"""Keys of the bus replaced by a real identity service on a real server: under way, interrupted, explained."""

import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import nats.errors
import pytest

from common.bus import Bus
from common.clock import SystemClock
from common.contract import subjects
from common.contract.events import Event
from common.contract.identity import KeyKind, KeyRotation, KeysChange, KeysQuestion, RotationPhase
from common.errors import BusUnavailable, InvalidToken, Refused
from common.names import Identity
from common.x509 import bus_context
from services.identity import nkey
from services.identity.accounts import WORKLOADS
from services.identity.callout import SERVER_KEY, admit, read
from services.identity.directory import MeshDirectory
from services.identity.holders import HOLDERS, Holder
from services.identity.key_steps import KeySteps
from services.identity.nkey import KeyPair
from services.identity.permissions import CALLOUT, Role, of_workload
from services.identity.xkey import BoxKey
from tests.support.hostile import WEB
from tests.support.identity import Mesh
from tests.support.identity import nats as started
from tests.support.nats import until

pytestmark = pytest.mark.anyio

PATIENCE = 50.0
"""Seconds: other tests may have the machine's attention."""
SERVICES: tuple[KeyKind, ...] = ("services",)
OURS: tuple[KeyKind, ...] = ("account", "callout")


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


async def status(bus: Bus) -> KeyRotation:
    """How it is, as soon as a replica answers; our own connection ends once, too."""
    with anyio.fail_after(PATIENCE):
        while True:
            try:
                return await bus.request(subjects.keys_status(), KeysQuestion(), timeout=1)
            except BusUnavailable:
                await anyio.sleep(0.05)


async def change(bus: Bus, asked: KeysChange) -> KeyRotation:
    """Ask for it, as soon as a replica answers."""
    await status(bus)
    return await bus.request(subjects.keys_change(), asked, timeout=PATIENCE)


async def once(bus: Bus, wanted: Callable[[KeyRotation], object]) -> KeyRotation:
    """How it is, once that is as wanted."""
    with anyio.fail_after(PATIENCE):
        while True:
            found = await status(bus)
            if wanted(found):
                return found
            await anyio.sleep(0.05)


async def finished(bus: Bus) -> KeyRotation:
    return await once(bus, lambda now: now.phase == "steady")


async def waited_for(bus: Bus, *names: str) -> dict[str, str]:
    """Why it waits for each, once that is for these only."""
    found = await once(bus, lambda now: {one.name for one in now.waiting} == {*names})
    return {one.name: one.why for one in found.waiting}


@asynccontextmanager
async def service(mesh: Mesh, role: Role, path: Path) -> AsyncIterator[Bus]:
    """A service that has its key in a file of its own."""
    given = MeshDirectory(mesh.directory.root)
    async with Bus(
        [mesh.server.url],
        name=role,
        tls=lambda: bus_context(mesh.anchors_pem),
        nkey_seed=lambda: given.seed(path, nkey.USER).seed,
        inbox_prefix=subjects.role_inbox(role),
    ) as bus:
        with anyio.fail_after(PATIENCE):
            await bus.wait_connected()
        yield bus


async def gets_in(mesh: Mesh, *, seed: str = "", token: str = "", inbox: str = "_INBOX") -> bool:
    """Whether somebody with this is let in."""
    try:
        client = await mesh.client(seed=seed, token=token, inbox=inbox)
    except (nats.errors.Error, TimeoutError, OSError):
        return False
    await client.close()
    return True


def seeds(mesh: Mesh) -> dict[Holder, str]:
    return {holder: mesh.directory.user(holder).seed for holder in HOLDERS}


async def test_old_keys_open_nothing_once_there_are_new_ones(tmp_path: Path) -> None:
    events: list[Event] = []
    async with (
        started(tmp_path) as mesh,
        mesh.identity(),
        mesh.role("operator") as operator,
        mesh.role("telemetry"),
    ):
        await operator.listen(
            subjects.event("identity", "*"), lambda _, event: events.append(event)
        )
        old, token = seeds(mesh), mesh.token(WEB)

        began = await change(operator, KeysChange(distrust=True))
        done = await finished(operator)

        assert began.what == ("services", "tokens")
        assert (done.completed, done.waiting, done.trouble) == (1, (), "")
        assert min(one.since for one in done.keys if one.kind in began.what) > began.since
        for holder, seed in old.items():
            assert not await gets_in(mesh, seed=seed), holder
            assert await gets_in(mesh, seed=mesh.directory.user(holder).seed), holder
        assert not await gets_in(mesh, token=token)
        assert await gets_in(mesh, token=mesh.token(WEB), inbox=subjects.inbox(WEB))

        phases = [one.fields.get("phase") for one in events if one.what == "key-rotation"]
        told = mesh.identity_log() + "".join(map(str, events))
        assert phases[-1] == "steady"
        assert mesh.server.log_file.read_text().count("Server is ready") == 1
        for secret in (*old.values(), *seeds(mesh).values(), token):
            assert secret not in told


@pytest.mark.parametrize("phase", ["added", "switched", "removed"])
async def test_identity_that_died_in_any_phase_goes_on_when_it_is_back(
    tmp_path: Path, phase: RotationPhase
) -> None:
    async with started(tmp_path) as mesh:
        old = seeds(mesh)
        steps = KeySteps(mesh.directory, SystemClock())
        steps.resume()
        steps.begin(SERVICES, distrust=False)
        steps.note(members=["identity", "system"])
        while steps.progress.phase != phase:
            # What the one who died has had the server read.
            await reloaded(mesh)
            steps.take()

        async with mesh.identity(), mesh.role("operator") as operator:
            assert (await finished(operator)).completed == 1

            assert not await gets_in(mesh, seed=old["identity"])
            assert await gets_in(mesh, seed=mesh.directory.user("identity").seed)


async def reloaded(mesh: Mesh) -> None:
    def times() -> int:
        return mesh.server.log_file.read_text().count("Reloaded server configuration")

    before = times()
    assert mesh.server.pid
    os.kill(mesh.server.pid, signal.SIGHUP)
    await until(lambda: times() > before)


async def test_who_has_not_come_with_the_new_key_is_named_and_waited_for(tmp_path: Path) -> None:
    own: dict[Role, Path] = {}
    async with started(tmp_path) as mesh, mesh.identity(), mesh.role("operator") as operator:
        for role in ("telemetry", "destination"):
            own[role] = tmp_path / f"{role}.seed"
            own[role].write_bytes(mesh.directory.seed_file(role).read_bytes())
        old = mesh.directory.user("destination").seed
        async with service(mesh, "telemetry", own["telemetry"]) as telemetry:
            async with service(mesh, "destination", own["destination"]):
                await change(operator, KeysChange(what=SERVICES))

            why = await waited_for(operator, "telemetry", "destination")
            assert why["telemetry"] == "is still connected with its old key"
            assert why["destination"] == "has not come with its new key"
            with pytest.raises(Refused, match=r"nobody is called telemetri; expected one of dest"):
                await change(operator, KeysChange(leave_behind=("telemetri",)))
            with pytest.raises(Refused, match="another rotation is under way: of services"):
                await change(operator, KeysChange(what=("tokens",)))

            own["telemetry"].write_bytes(mesh.directory.seed_file("telemetry").read_bytes())
            await waited_for(operator, "destination")
            assert await gets_in(mesh, seed=old), "it is not shut out by itself"
            await change(operator, KeysChange(leave_behind=("destination",)))
            await finished(operator)
            await until(lambda: telemetry.connected.value)
            assert not await gets_in(mesh, seed=old)

        # It was away all the time, and comes with its new key as soon as it finds that.
        own["destination"].write_bytes(mesh.directory.seed_file("destination").read_bytes())
        async with service(mesh, "destination", own["destination"]):
            pass


async def test_a_rotation_that_is_taken_back_leaves_everybody_with_the_old_key(
    tmp_path: Path,
) -> None:
    own = tmp_path / "telemetry.seed"
    async with started(tmp_path) as mesh, mesh.identity(), mesh.role("operator") as operator:
        old = seeds(mesh)
        own.write_text(old["telemetry"])
        async with service(mesh, "telemetry", own):
            await change(operator, KeysChange(what=SERVICES))
            await waited_for(operator, "telemetry")
            new = seeds(mesh)
            assert new["identity"] != old["identity"]

            assert (await change(operator, KeysChange(back=True))).back
            done = await finished(operator)

        assert (done.completed, seeds(mesh)) == (0, old)
        assert await gets_in(mesh, seed=old["telemetry"])
        assert not await gets_in(mesh, seed=new["telemetry"])


async def test_another_account_and_callout_key_wait_until_nats_is_started_again(
    tmp_path: Path,
) -> None:
    async with started(tmp_path) as mesh:
        account, box = mesh.directory.account(), mesh.directory.callout()
        async with mesh.identity(), mesh.role("operator") as operator:
            await change(operator, KeysChange(what=OURS))
            assert (await once(operator, lambda now: now.trouble)).trouble == (
                "NATS server tulle: takes another key of account or callout at its start only:"
                " restart it"
            )
            # Until then it asks with the old ones.
            assert await gets_in(mesh, token=mesh.token(WEB), inbox=subjects.inbox(WEB))

            await mesh.server.restart()
            assert (await finished(operator)).completed == 1
            assert mesh.directory.account().public != account.public
            assert await gets_in(mesh, token=mesh.token(WEB), inbox=subjects.inbox(WEB))

        # Somebody has identity's own key, and what it answered with before.
        now = mesh.directory
        async with mesh.role("identity") as thief:
            for signs, opens, good in (
                (account, box, False),
                (account, now.callout(), False),
                (now.account(), now.callout(), True),
            ):
                forger = Forger({now.account().public: signs, account.public: signs}, opens)
                answerer = await thief.answer(CALLOUT, forger, queue="identity")
                assert await gets_in(mesh, token="any", inbox=subjects.inbox(WEB)) is good
                await answerer.stop()


class Forger:
    """Lets everybody in who knocks, with the keys that it has."""

    def __init__(self, accounts: Mapping[str, KeyPair], box: BoxKey) -> None:
        self._accounts = accounts
        self._box = box

    async def __call__(self, payload: bytes, headers: Mapping[str, str]) -> bytes:
        sender, now = headers[SERVER_KEY], SystemClock.now()
        try:
            knock = read(payload, sender, [self._box], self._accounts, now)
        except InvalidToken:
            return b""
        may = of_workload(Identity("shop", "web"), WEB)
        signs = self._accounts[knock.account]
        return self._box.seal(admit(knock, signs, str(WEB), may, now, into=WORKLOADS), sender)
