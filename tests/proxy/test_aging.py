"""Nothing outlives for long what it was trusted by: an anchor that is gone, or our own leaf."""

from pathlib import Path

import pytest

from common.clock import ManualClock
from common.latest import Latest
from common.names import Identity, WorkloadName
from proxy.aging import EXPIRED_SECONDS, GONE_SECONDS, Aging
from proxy.control.held import Held, hold
from proxy.control.trust import Trust
from proxy.session.sessions import Sessions
from proxy.transport.sealed import Sealed, began_before
from tests.support import ends
from tests.support.ends import Recorder, TlsFiles
from tests.support.nats import until
from tests.support.pki import Pki

NOW = 1_700_000_000.0
EVERY = 2**62


class Side:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.retired: list[int] = []
        self.cut: list[int] = []

    def retire_before(self, revision: int) -> None:
        self.retired.append(revision)

    def cut_before(self, revision: int) -> int:
        self.cut.append(revision)
        return 1


class World:
    """A proxy's leaf, its anchors, and one side."""

    def __init__(self, tmp_path: Path, leaf_seconds: float = 86_400.0) -> None:
        pki = Pki(now=NOW)
        (tmp_path / "anchors.pem").write_text(pki.anchors_pem)
        trust = Trust("cluster.local", tmp_path, tmp_path / "anchors.pem")
        leaf = pki.leaf("web", seconds=leaf_seconds)
        identity, workload = Identity("shop", "web"), WorkloadName("shop", "web")
        held = hold(leaf.key, leaf.chain, identity, workload, trust, NOW)
        self.clock = ManualClock(NOW)
        self.held: Latest[Held | None] = Latest(held)
        self.removed_at = 0
        self.side = Side()
        self.aging = Aging(self.held, lambda: self.removed_at, self.clock, self.side)

    def after(self, seconds: float) -> Side:
        """What the side was asked after so long."""
        self.clock.advance(seconds)
        self.side.retired, self.side.cut = [], []
        self.aging.look()
        return self.side


def test_nothing_is_asked_of_anybody_as_long_as_everything_is_trusted(tmp_path: Path) -> None:
    side = World(tmp_path).after(1.0)

    assert (side.retired, side.cut) == ([], [])


def test_sessions_from_before_an_anchor_went_are_retired_again_and_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.removed_at = 9

    assert world.after(1.0).retired == [9]
    assert world.after(1.0).retired == [9], "a handshake may have begun before"


def test_what_does_not_end_by_itself_is_cut_after_an_hour(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.removed_at = 9

    assert world.after(1.0).cut == []
    assert world.after(GONE_SECONDS - 1).cut == []
    assert world.after(2.0).cut == [9]


def test_the_hour_begins_anew_with_another_anchor_that_goes(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.removed_at = 9
    world.after(1.0)
    world.removed_at = 15

    assert world.after(GONE_SECONDS).cut == []


def test_when_our_leaf_has_ended_everything_is_retired_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path, leaf_seconds=100)
    assert world.after(99).retired == []

    (revision,) = world.after(2).retired
    assert revision > EVERY
    assert world.after(1).cut == []
    assert world.after(EXPIRED_SECONDS).cut == [revision]
    assert caplog.text.count("the certificate has expired: no mutual TLS") == 1


@pytest.mark.anyio
async def test_a_connection_knows_which_bundle_it_began_under(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    files = TlsFiles(tmp_path_factory.mktemp("tls"))
    user = Recorder()
    async with ends.tls(user, files, server=True) as (stream, _):
        assert not began_before(stream, EVERY), "nobody said"
        sealed = Sealed()
        sealed.add(stream, 7)

        assert began_before(stream, 8)
        assert not began_before(stream, 7)
        assert sealed.abort_before(7) == 0
        assert sealed.abort_before(8) == 1
        await until(lambda: user.events)
        assert user.events == ["lost"]
        assert isinstance(user.error, ConnectionResetError)
        assert sealed.abort_before(8) == 0


class Server:
    """A session that began under a bundle."""

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.drained = False

    def began_before(self, revision: int) -> bool:
        return self.revision < revision

    def drain(self) -> None:
        self.drained = True

    def cut_off(self, error: Exception) -> None:
        raise AssertionError(error)


def test_only_sessions_from_before_are_drained_and_new_ones_are_served() -> None:
    sessions, old, new = Sessions(), Server(7), Server(9)
    sessions.add(old)
    sessions.add(new)

    sessions.drain_before(9)
    later = Server(9)
    sessions.add(later)

    assert [one.drained for one in (old, new, later)] == [True, False, False]
