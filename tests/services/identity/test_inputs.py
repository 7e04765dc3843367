"""Anchors and issuer are read again when they change; what cannot be used is refused, and nothing is lost."""

from collections.abc import Callable
from pathlib import Path

import pytest

from common.bus import Bus
from common.clock import SystemClock
from common.x509 import chain_pem, key_pem
from services.identity.bootstrap import bootstrap
from services.identity.directory import MeshDirectory, write_pair
from services.identity.inputs import Reloader
from services.identity.journal import Journal
from services.identity.roots import make_anchor, make_issuer

pytestmark = pytest.mark.anyio

Spoil = Callable[[MeshDirectory], object]


def watched(path: Path) -> tuple[MeshDirectory, Reloader, Journal]:
    mesh, clock = bootstrap(path / "mesh"), SystemClock()
    journal = Journal(Bus(["nats://127.0.0.1:1"], name="nowhere"), clock)
    return mesh, Reloader(mesh, "cluster.local", 3600.0, clock), journal


def no_certificate(mesh: MeshDirectory) -> None:
    mesh.issuer_file.write_text("nonsense")


def no_key(mesh: MeshDirectory) -> None:
    mesh.issuer_key_file.unlink()


def anothers_key(mesh: MeshDirectory) -> None:
    mesh.issuer_key_file.write_bytes(key_pem(make_anchor("cluster.local", SystemClock.now()).key))


def below_another_anchor(mesh: MeshDirectory) -> None:
    now = SystemClock.now()
    issuer = make_issuer(make_anchor("cluster.local", now), "cluster.local", now)
    write_pair(issuer, mesh.issuer_file, mesh.issuer_key_file)


def no_longer_valid(mesh: MeshDirectory) -> None:
    now = SystemClock.now()
    issuer = make_issuer(mesh.anchor(), "cluster.local", now - 100, 50.0)
    write_pair(issuer, mesh.issuer_file, mesh.issuer_key_file)


def a_leaf(mesh: MeshDirectory) -> None:
    write_pair(mesh.server(), mesh.issuer_file, mesh.issuer_key_file)


def no_anchor(mesh: MeshDirectory) -> None:
    mesh.anchors_file.write_text("")


@pytest.mark.parametrize(
    "spoil",
    [
        no_certificate,
        no_key,
        anothers_key,
        below_another_anchor,
        no_longer_valid,
        a_leaf,
        no_anchor,
    ],
)
async def test_a_bad_pair_is_refused_loudly_and_the_good_one_stays(
    tmp_path: Path, spoil: Spoil, caplog: pytest.LogCaptureFixture
) -> None:
    mesh, reloader, journal = watched(tmp_path)
    good = reloader.current.value
    spoil(mesh)

    for _ in range(3):
        await reloader.look(journal)

    assert reloader.current.value is good
    assert not reloader.good
    assert journal.counts == {"refused-files": 1}
    assert "what was there stays in force" in caplog.text
    assert "PRIVATE KEY" not in caplog.text


async def test_a_pair_that_is_being_written_is_not_complained_of(tmp_path: Path) -> None:
    mesh, reloader, journal = watched(tmp_path)
    issuer = make_issuer(mesh.anchor(), "cluster.local", SystemClock.now())
    mesh.issuer_key_file.write_bytes(key_pem(issuer.key))
    await reloader.look(journal)
    mesh.issuer_file.write_bytes(chain_pem(issuer.chain))

    await reloader.look(journal)

    assert reloader.current.value.authority.issuer.certificate == issuer.certificate
    assert journal.counts == {"reloaded": 1}


async def test_after_a_bad_pair_a_good_one_is_in_force(tmp_path: Path) -> None:
    mesh, reloader, journal = watched(tmp_path)
    issuer = make_issuer(mesh.anchor(), "cluster.local", SystemClock.now())
    no_certificate(mesh)
    for _ in range(2):
        await reloader.look(journal)

    write_pair(issuer, mesh.issuer_file, mesh.issuer_key_file)
    await reloader.look(journal)

    assert reloader.good
    assert reloader.current.value.authority.issuer.certificate == issuer.certificate


async def test_files_that_did_not_change_are_not_read(tmp_path: Path) -> None:
    _, reloader, journal = watched(tmp_path)
    before = reloader.current.value

    await reloader.look(journal)

    assert reloader.current.value is before
    assert not journal.counts
