"""Rotations by a real identity service on a real server: driven, interrupted, taken back, explained."""

import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import msgspec
import pytest

from common.bus import Bus
from common.clock import SystemClock
from common.contract import subjects
from common.contract.events import Ack, ShownLeaf
from common.contract.identity import (
    CertifyRequest,
    Rotation,
    TrustBundle,
    TrustChange,
    TrustQuestion,
    Waiting,
)
from common.errors import BusUnavailable, Refused
from common.names import Identity, WorkloadName
from common.x509 import (
    first_of,
    generate_key,
    key_id,
    load_certificates,
    load_der,
    signed_by,
    signing_request,
)
from services.identity.progress import Step
from tests.support.identity import Mesh, nats
from tests.support.nats import until

pytestmark = pytest.mark.anyio

WEB = WorkloadName("shop", "web")
PATIENCE = 50.0
"""Seconds: other tests may have the machine's attention."""
FORWARD: tuple[Step, ...] = ("add", "switch", "remove", "finish")


class Workload:
    """Does what a proxy does about trust, when it is told to."""

    def __init__(self, mesh: Mesh, bus: Bus) -> None:
        self._mesh = mesh
        self._bus = bus
        self.revision = 0
        self.bundle: TrustBundle | None = None
        self._signers: tuple[str, ...] = ()

    def hear(self, bundle: TrustBundle | None, revision: int) -> None:
        """The bundle has changed."""
        self.bundle, self.revision = bundle, revision

    @property
    def is_below_what_signs(self) -> bool:
        """Whether the leaf is below the anchor that signs now."""
        if self.bundle is None:
            return True
        anchors = load_certificates("".join(self.bundle.anchors).encode())
        return first_of(self._signers, [key_id(one) for one in anchors]) == self.bundle.signing

    async def certify(self) -> None:
        """Have a leaf."""
        who = Identity("shop", "web", self._mesh.trust_domain)
        request = CertifyRequest(csr=signing_request(who, WEB, generate_key()))
        reply = await self._bus.request(subjects.certify(who, WEB), request, timeout=PATIENCE)
        self._signers = tuple(signed_by(load_der(der)) for der in reply.chain)

    async def acknowledge(self, revision: int | None = None) -> None:
        """Say what is in force."""
        leaf = ShownLeaf(serial="1", identity="", not_after=0.0, signed_by=self._signers)
        said = Ack(
            namespace=WEB.namespace,
            workload=WEB.name,
            uid="1",
            revisions={subjects.trust().subject: revision or self.revision},
            leaf=leaf,
            time=SystemClock.now(),
        )
        await self._bus.publish(subjects.ack(WEB), said)

    async def keep_up(self) -> None:
        """Have in force whatever is published, and a leaf that goes with it; for ever."""
        while True:
            if not self.is_below_what_signs:
                with suppress(BusUnavailable, Refused):
                    await self.certify()
            await self.acknowledge()
            await anyio.sleep(0.2)


@asynccontextmanager
async def workload(mesh: Mesh) -> AsyncIterator[Workload]:
    token = mesh.token(WEB)
    async with mesh.workload_bus(WEB, token) as bus:
        await bus.wait_connected()
        made = Workload(mesh, bus)
        follower = bus.follow(subjects.trust(), made.hear)
        await until(lambda: made.revision, PATIENCE)
        await made.certify()
        yield made
        follower.close()


async def status(bus: Bus) -> Rotation:
    """How it is, as soon as a replica answers."""
    with anyio.fail_after(PATIENCE):
        while True:
            try:
                return await bus.request(subjects.trust_status(), TrustQuestion(), timeout=10)
            except BusUnavailable:
                await anyio.sleep(0.05)


async def change(bus: Bus, step: str, *left: str) -> Rotation:
    asked = msgspec.convert({"step": step, "leave_behind": left}, TrustChange)
    return await bus.request(subjects.trust_change(), asked, timeout=PATIENCE)


async def taken(bus: Bus, step: str) -> Rotation:
    """Take a step as soon as it may be taken."""
    with anyio.fail_after(PATIENCE):
        while True:
            try:
                return await change(bus, step)
            except Refused:
                await anyio.sleep(0.1)


async def finished(bus: Bus, completed: int) -> Rotation:
    with anyio.fail_after(PATIENCE):
        while True:
            found = await status(bus)
            if found.completed >= completed:
                return found
            await anyio.sleep(0.1)


async def waited_for(bus: Bus, *names: str) -> tuple[Waiting, ...]:
    """Whom it waits for, once that is these only: identity itself needs a moment, too."""
    with anyio.fail_after(PATIENCE):
        while True:
            waiting = (await status(bus)).waiting
            if {one.name for one in waiting} == {*names}:
                return waiting
            await anyio.sleep(0.1)


async def test_a_rotation_waits_for_whoever_is_connected_and_says_for_whom(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity(), mesh.role("operator") as operator:
        await status(operator)
        async with workload(mesh) as web:
            await web.acknowledge()
            before = web.revision
            await change(operator, "rotate")
            await until(lambda: web.revision > before, PATIENCE)

            (waiting,) = await waited_for(operator, "shop/web")
            assert waiting.why == f"has revision {before} of the bundle; expected {web.revision}"
            with pytest.raises(Refused, match=r"switch: not yet: shop/web \(has revision"):
                await change(operator, "switch")
            with pytest.raises(Refused, match="nobody is called shop/wed; expected one of"):
                await change(operator, "rotate", "shop/wed")
            assert (await status(operator)).phase == "added"

            found = await change(operator, "rotate", "shop/web")
            assert found.left_behind == ("shop/web",)
            found = await finished(operator, 1)
            assert found.phase == "steady"


async def test_leaves_are_renewed_before_the_old_anchor_goes(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity(), mesh.role("operator") as operator:
        await status(operator)
        async with workload(mesh) as web:
            await change(operator, "add")
            await until(lambda: web.bundle and web.bundle.phase == "added", PATIENCE)
            await web.acknowledge()
            await taken(operator, "switch")
            await until(lambda: web.bundle and web.bundle.phase == "switched", PATIENCE)
            await web.acknowledge()

            await waited_for(operator, "shop/web")
            with pytest.raises(Refused, match="holds a leaf below another anchor"):
                await change(operator, "remove")

            await web.certify()
            await web.acknowledge()
            await taken(operator, "remove")


async def test_a_rotation_goes_on_when_identity_is_killed_in_any_phase(tmp_path: Path) -> None:
    async with (
        nats(tmp_path) as mesh,
        mesh.role("operator") as operator,
        anyio.create_task_group() as group,
    ):
        for before, step in (("steady", "add"), ("added", "switch"), ("switched", "remove")):
            async with mesh.identity(lease_seconds=2) as process:
                assert (await status(operator)).phase == before
                await taken(operator, step)
                await killed(process)

        async with mesh.identity(), workload(mesh) as web:
            group.start_soon(web.keep_up)
            assert (await status(operator)).phase == "removed"
            await change(operator, "rotate")
            found = await finished(operator, 1)
            group.cancel_scope.cancel()

    assert found.phase == "steady"
    assert len(mesh.directory.anchors()) == 1


async def test_another_replica_goes_on_and_signs_below_the_new_anchor(tmp_path: Path) -> None:
    async with (
        nats(tmp_path) as mesh,
        mesh.role("operator") as operator,
        mesh.identity(lease_seconds=2) as holder,
    ):
        await status(operator)
        async with (
            mesh.identity(lease_seconds=2),
            workload(mesh) as web,
            anyio.create_task_group() as group,
        ):
            group.start_soon(web.keep_up)
            await taken(operator, "add")
            await taken(operator, "switch")
            await killed(holder)

            await until(lambda: web.is_below_what_signs, PATIENCE)
            await status(operator)
            # The one that was killed would be waited for until it has been silent for long enough.
            await change(operator, "rotate", "_/identity")
            await finished(operator, 1)
            group.cancel_scope.cancel()

    assert mesh.identity_log().count("lease acquired") == 2


async def killed(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGKILL)
    await anyio.to_thread.run_sync(process.wait, 10.0)


async def test_every_step_but_the_last_can_be_taken_back(tmp_path: Path) -> None:
    async with (
        nats(tmp_path) as mesh,
        mesh.identity(),
        mesh.role("operator") as operator,
        workload(mesh) as web,
        anyio.create_task_group() as group,
    ):
        before = mesh.directory.anchors()
        group.start_soon(web.keep_up)
        for steps in (1, 2, 3):
            for step in FORWARD[:steps]:
                await taken(operator, step)
            for _ in range(steps):
                found = await taken(operator, "back")
            assert (found.phase, found.completed) == ("steady", 0)
            assert mesh.directory.anchors() == before
        group.cancel_scope.cancel()


async def test_the_new_anchor_does_not_go_while_a_leaf_below_it_is_shown(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity(), mesh.role("operator") as operator:
        await status(operator)
        async with workload(mesh) as web:
            await change(operator, "add")
            await until(lambda: web.bundle and web.bundle.phase == "added", PATIENCE)
            await web.acknowledge()
            await taken(operator, "switch")
            await web.certify()
            await web.acknowledge()
            await taken(operator, "back")

            with pytest.raises(Refused, match="below the new anchor are held by: shop/web"):
                await change(operator, "back")

            await web.certify()
            await web.acknowledge()
            assert (await taken(operator, "back")).phase == "steady"


async def test_a_step_that_failed_half_way_is_done_before_the_next_is_thought_of(
    tmp_path: Path,
) -> None:
    async with (
        nats(tmp_path) as mesh,
        mesh.identity(),
        mesh.role("operator") as operator,
        workload(mesh) as web,
    ):
        await change(operator, "add")
        await until(lambda: web.bundle and web.bundle.phase == "added", PATIENCE)
        await web.acknowledge()
        _, key = mesh.directory.issuer_files("new")
        away = key.rename(tmp_path / "away.key")
        await change(operator, "rotate")
        await until(lambda: "issuer/new.key" in mesh.identity_log(), PATIENCE)
        away.rename(key)

        await until(lambda: not web.is_below_what_signs, PATIENCE)
        await web.acknowledge()

        (waiting,) = await waited_for(operator, "shop/web")
        assert "below another anchor" in waiting.why or "has revision" in waiting.why
        assert (await status(operator)).phase == "switched"


async def test_a_rotation_that_began_in_trust_does_not_go_on_in_distrust(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity(), mesh.role("operator") as operator:
        await status(operator)
        await change(operator, "add")
        with pytest.raises(Refused, match="began with trust in the old anchor"):
            await operator.request(
                subjects.trust_change(),
                TrustChange(step="rotate", distrust=True),
                timeout=PATIENCE,
            )

        assert not (await status(operator)).automatic


async def test_natss_certificate_is_another_one_afterwards_without_a_restart(
    tmp_path: Path,
) -> None:
    async with nats(tmp_path) as mesh, mesh.identity(), mesh.role("operator") as operator:
        await status(operator)
        pid = mesh.server.pid
        before = mesh.directory.server().certificate
        await change(operator, "rotate")
        await finished(operator, 1)

        after = mesh.directory.server().certificate
        assert after != before
        assert mesh.server.pid == pid
        # Who knows the new anchor only, and who knows the old one only, both find the bus.
        for anchors in (mesh.directory.anchors_file.read_text(), mesh.anchors_pem):
            mesh.anchors_pem = anchors
            async with mesh.role("telemetry") as other:
                assert other.connected.value


async def test_only_an_operator_may_ask_for_a_step(tmp_path: Path) -> None:
    async with nats(tmp_path) as mesh, mesh.identity(), mesh.role("destination") as other:
        with pytest.raises(BusUnavailable):
            await other.request(subjects.trust_change(), TrustChange(step="add"), timeout=0.5)
        assert len(mesh.directory.anchors()) == 1
