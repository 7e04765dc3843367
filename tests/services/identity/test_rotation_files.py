"""A rotation's steps on the files of a mesh directory: each can be done again, and taken back."""

import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.clock import ManualClock, SystemClock
from common.errors import Refused
from common.x509 import anchor_of, bus_context, chain_pem, key_id, key_pem, load_key
from services.identity import inputs, material, server_certificate
from services.identity.bootstrap import bootstrap
from services.identity.directory import MeshDirectory
from services.identity.progress import TRANSITIONS, Step
from services.identity.roots import ISSUER_LIFE, Pair, cross_sign, make_anchor, make_issuer
from services.identity.steps import Steps
from tests.support.tls import shake

LEAF_SECONDS = 3600.0


def made(path: Path) -> tuple[MeshDirectory, Steps]:
    mesh = bootstrap(path / "mesh")
    return mesh, started(mesh)


def started(mesh: MeshDirectory, now: float | None = None) -> Steps:
    clock = ManualClock(SystemClock.now() if now is None else now)
    steps = Steps(mesh, "cluster.local", LEAF_SECONDS, clock)
    steps.resume()
    return steps


def anchors(mesh: MeshDirectory) -> list[str]:
    return [key_id(anchor) for anchor in mesh.anchors()]


def signing(mesh: MeshDirectory) -> str:
    return anchor_of(mesh.issuer().chain, mesh.anchors())


def take(steps: Steps, *which: Step) -> None:
    for step in which:
        steps.take(step)


def test_a_new_anchor_is_trusted_before_anything_is_signed_below_it(tmp_path: Path) -> None:
    mesh, steps = made(tmp_path)
    (old,) = anchors(mesh)

    steps.take("add")

    assert anchors(mesh) == [old, steps.progress.new]
    assert signing(mesh) == old

    steps.take("switch")

    assert set(anchors(mesh)) == {old, steps.progress.new}
    assert signing(mesh) == steps.progress.new

    steps.take("remove")

    assert anchors(mesh) == [steps.progress.new] == [signing(mesh)]


def test_whoever_knows_only_the_old_anchor_believes_what_is_signed_below_the_new_one(
    tmp_path: Path,
) -> None:
    mesh, steps = made(tmp_path)
    before, now = mesh.anchors(), SystemClock.now()
    take(steps, "add", "switch")

    found = inputs.read(mesh, "cluster.local", LEAF_SECONDS, now)

    found.authority.prove(before, "cluster.local", now)
    found.authority.prove(mesh.anchors()[:1], "cluster.local", now)


def test_after_the_last_step_the_old_key_is_nowhere(tmp_path: Path) -> None:
    mesh, steps = made(tmp_path)
    old_keys = {key_pem(mesh.anchor().key), key_pem(mesh.issuer().key)}
    take(steps, "add", "switch", "remove")
    assert old_keys & keys(mesh)

    steps.take("finish")

    assert not old_keys & keys(mesh)
    assert not list(mesh.root.rglob("old.*")) + list(mesh.root.rglob("new.*"))
    assert steps.progress.completed == 1
    inputs.read(mesh, "cluster.local", LEAF_SECONDS, SystemClock.now())


def keys(mesh: MeshDirectory) -> set[bytes]:
    return {key_pem(load_key(path.read_bytes())) for path in mesh.root.rglob("*.key")}


def test_keys_of_both_sides_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    mesh, steps = made(tmp_path)
    forward: tuple[Step, ...] = ("add", "switch", "remove", "finish")
    for step in forward:
        take(steps, step)
        assert {path.stat().st_mode & 0o777 for path in mesh.root.rglob("*.key")} == {0o600}


@pytest.mark.parametrize("forward", [("add",), ("add", "switch"), ("add", "switch", "remove")])
def test_all_steps_taken_back_leave_what_was_there(
    tmp_path: Path, forward: tuple[Step, ...]
) -> None:
    mesh, steps = made(tmp_path)
    files = (mesh.anchors_file, mesh.anchor_key_file, mesh.issuer_file, mesh.issuer_key_file)
    before = [path.read_bytes() for path in files]
    take(steps, *forward)

    for _ in forward:
        steps.take("back")

    assert [path.read_bytes() for path in files] == before
    assert steps.progress.phase == "steady"
    assert steps.progress.completed == 0
    assert not list(mesh.root.rglob("new.*"))


@pytest.mark.parametrize("forward", [("add",), ("add", "switch"), ("add", "switch", "remove")])
def test_whoever_comes_after_a_crash_lays_the_files_out_again(
    tmp_path: Path, forward: tuple[Step, ...]
) -> None:
    mesh, steps = made(tmp_path)
    before = {path: path.read_bytes() for path in (mesh.anchors_file, mesh.issuer_file)}
    keys = {path: path.read_bytes() for path in (mesh.anchor_key_file, mesh.issuer_key_file)}
    take(steps, *forward)
    wanted = anchors(mesh), signing(mesh)
    # The progress was written, and nothing else.
    for path, data in (before | keys).items():
        path.write_bytes(data)

    again = started(mesh)

    assert again.progress == steps.progress
    assert (anchors(mesh), signing(mesh)) == wanted


@pytest.mark.parametrize("forward", [("add",), ("add", "switch"), ("add", "switch", "remove")])
def test_a_phase_is_reached_when_its_files_are_in_force_and_not_before(
    tmp_path: Path, forward: tuple[Step, ...]
) -> None:
    mesh, steps = made(tmp_path)
    take(steps, *forward[:-1])
    before = inputs.read(mesh, "cluster.local", LEAF_SECONDS, SystemClock.now())

    steps.take(forward[-1])

    after = inputs.read(mesh, "cluster.local", LEAF_SECONDS, SystemClock.now())
    assert after.has_reached(steps.progress)
    assert not before.has_reached(steps.progress)
    # The progress was read, and the rest not yet.
    assert not replace(before, progress=steps.progress).has_reached(steps.progress)


@pytest.mark.parametrize("step", ["switch", "back"])
def test_identity_starts_if_an_issuers_key_was_written_and_nothing_else(
    tmp_path: Path, step: Step
) -> None:
    mesh, steps = made(tmp_path)
    take(steps, "add")
    if step == "back":
        take(steps, "switch")
    certificates = {path: path.read_bytes() for path in (mesh.issuer_file, mesh.anchors_file)}
    steps.take(step)
    wanted = anchors(mesh), mesh.issuer()
    mesh.issuer_file.write_bytes(certificates[mesh.issuer_file])

    found = inputs.read(mesh, "cluster.local", LEAF_SECONDS, SystemClock.now())

    assert found.authority.issuer.chain == wanted[1].chain
    # The anchor's pair is written first, and may not have got further either.
    mesh.anchors_file.write_bytes(certificates[mesh.anchors_file])
    inputs.read(mesh, "cluster.local", LEAF_SECONDS, SystemClock.now())
    again = started(mesh)
    assert (anchors(mesh), mesh.certificates(mesh.issuer_file)) == (
        wanted[0],
        [*wanted[1].chain],
    )
    assert again.progress == steps.progress


def test_identity_starts_if_the_renewal_of_its_issuer_was_cut_short(tmp_path: Path) -> None:
    mesh, _ = made(tmp_path)
    before = mesh.issuer_file.read_bytes()
    assert started(mesh, SystemClock.now() + 0.71 * ISSUER_LIFE).renew_issuer()
    wanted = mesh.issuer()
    mesh.issuer_file.write_bytes(before)

    found = inputs.read(
        mesh,
        "cluster.local",
        LEAF_SECONDS,
        wanted.certificate.not_valid_before_utc.timestamp() + 60,
    )

    assert found.authority.issuer.certificate == wanted.certificate


def test_a_rotation_whose_beginning_was_cut_short_leaves_nothing(tmp_path: Path) -> None:
    mesh, _ = made(tmp_path)
    before = anchors(mesh), signing(mesh)
    material.make(mesh, "cluster.local", SystemClock.now(), vouched=True)

    started(mesh)

    assert (anchors(mesh), signing(mesh)) == before
    assert not list(mesh.root.rglob("new.*"))


@given(st.lists(st.sampled_from(["add", "switch", "remove", "finish", "back"]), max_size=12))
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_asked_for_the_files_always_serve(
    tmp_path_factory: pytest.TempPathFactory, asked: list[Step]
) -> None:
    mesh, steps = made(tmp_path_factory.mktemp("any"))
    for step in asked:
        known = (steps.progress.phase, step) in TRANSITIONS
        try:
            steps.take(step)
        except Refused:
            assert not known
        inputs.read(mesh, "cluster.local", LEAF_SECONDS, SystemClock.now())


def test_a_step_that_does_not_follow_is_refused_by_name(tmp_path: Path) -> None:
    _, steps = made(tmp_path)

    with pytest.raises(Refused, match=r"switch: not from phase 'steady'; expected add"):
        steps.take("switch")


def test_an_issuer_from_elsewhere_is_not_rotated_here(tmp_path: Path) -> None:
    mesh, steps = made(tmp_path)
    as_cert_manager_has_it(mesh, mesh.issuer(), mesh.anchor())

    with pytest.raises(Refused, match=r"comes from elsewhere .*tls\.crt"):
        steps.take("add")


def as_cert_manager_has_it(mesh: MeshDirectory, issuer: Pair, anchor: Pair) -> None:
    folder = mesh.issuer_file.parent
    (folder / "tls.key").write_bytes(key_pem(issuer.key))
    (folder / "ca.crt").write_bytes(chain_pem(anchor.chain))
    (folder / "tls.crt").write_bytes(chain_pem(issuer.chain))


def test_an_issuer_and_its_anchor_are_taken_from_cert_managers_files(tmp_path: Path) -> None:
    mesh, _ = made(tmp_path)
    now = SystemClock.now()
    other = make_anchor("cluster.local", now)
    issuer = make_issuer(other, "cluster.local", now)
    as_cert_manager_has_it(mesh, issuer, other)

    found = inputs.read(mesh, "cluster.local", LEAF_SECONDS, now)

    assert found.authority.issuer.certificate == issuer.certificate
    assert found.bundle.signing == key_id(other.certificate)
    assert len(found.anchors) == 2
    # What NATS then shows is below the other one, too.
    assert server_certificate.renew(mesh, now)
    assert chain_pem(other.chain).decode() in mesh.anchors_pem()


def test_who_was_away_for_two_rotations_knows_nats_again(tmp_path: Path) -> None:
    mesh, steps = made(tmp_path)
    oldest = mesh.anchors()
    for _ in range(2):
        take(steps, "add", "switch", "remove", "finish")
        assert server_certificate.renew(mesh, SystemClock.now())

    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(mesh.server_file, mesh.server_key_file)
    for known in (oldest, mesh.anchors()):
        shake(bus_context(chain_pem(known).decode()), server, "127.0.0.1")


def test_natss_certificate_is_not_made_again_when_a_rotation_ends(tmp_path: Path) -> None:
    mesh, steps = made(tmp_path)
    take(steps, "add", "switch")
    assert server_certificate.renew(mesh, SystemClock.now())
    assert server_certificate.named(mesh.server().certificate) == ["127.0.0.1", "localhost"]
    take(steps, "remove", "finish")

    assert not server_certificate.renew(mesh, SystemClock.now())


def test_natss_certificate_is_renewed_when_most_of_its_life_is_over(tmp_path: Path) -> None:
    mesh, _ = made(tmp_path)
    now = SystemClock.now()

    assert not server_certificate.renew(mesh, now + 0.69 * ISSUER_LIFE)
    before = mesh.server().certificate
    assert server_certificate.renew(mesh, now + 0.71 * ISSUER_LIFE)

    assert mesh.server().certificate.serial_number != before.serial_number


def test_natss_certificate_is_made_again_if_its_key_was_written_and_nothing_else(
    tmp_path: Path,
) -> None:
    mesh, steps = made(tmp_path)
    mesh.server_key_file.write_bytes(key_pem(steps.mesh.issuer().key))

    assert server_certificate.renew(mesh, SystemClock.now())

    assert server_certificate.named(mesh.server().certificate) == ["127.0.0.1", "localhost"]


def test_a_last_step_that_was_cut_short_is_taken_again(tmp_path: Path) -> None:
    mesh, steps = made(tmp_path)
    take(steps, "add", "switch", "remove")
    material.settle(mesh, "new", SystemClock.now())

    again = started(mesh)
    again.take("finish")

    assert len(mesh.certificates(mesh.cross_file)) == 1


def test_an_issuer_is_renewed_below_the_same_anchor_when_most_of_its_life_is_over(
    tmp_path: Path,
) -> None:
    mesh, steps = made(tmp_path)
    before = mesh.issuer().certificate
    assert not steps.renew_issuer()

    assert started(mesh, SystemClock.now() + 0.71 * ISSUER_LIFE).renew_issuer()

    assert mesh.issuer().certificate != before
    assert signing(mesh) == anchors(mesh)[0]


def test_who_held_a_leaf_of_before_may_come_back_until_it_would_have_ended(tmp_path: Path) -> None:
    mesh, steps = made(tmp_path)
    now, old = SystemClock.now(), mesh.anchors()
    leaf = inputs.read(mesh, "cluster.local", LEAF_SECONDS, now)
    take(steps, "add", "switch", "remove", "finish")

    found = inputs.read(mesh, "cluster.local", LEAF_SECONDS, now)

    leaf.authority.prove(found.for_proofs(now + LEAF_SECONDS / 2), "cluster.local", now)
    assert old[0] not in found.for_proofs(now + LEAF_SECONDS + 60)
    assert started(mesh, now + LEAF_SECONDS + 60).progress.retired == ()


def test_who_was_left_behind_may_come_back_before_the_last_step(tmp_path: Path) -> None:
    mesh, steps = made(tmp_path)
    now, old = SystemClock.now(), mesh.anchors()
    leaf = inputs.read(mesh, "cluster.local", LEAF_SECONDS, now)
    take(steps, "add", "switch", "remove")

    found = inputs.read(mesh, "cluster.local", LEAF_SECONDS, now)

    leaf.authority.prove(found.for_proofs(now), "cluster.local", now)
    assert old[0] not in found.anchors, "for coming back, and for nothing else"
    steps.take("finish")
    ended = inputs.read(mesh, "cluster.local", LEAF_SECONDS, now)
    assert ended.for_proofs(now) == [*found.anchors, old[0]]


def test_an_anchor_that_is_in_force_again_is_not_retired(tmp_path: Path) -> None:
    _, steps = made(tmp_path)
    take(steps, "add", "switch", "remove", "back")

    assert steps.progress.retired == ()

    take(steps, "remove", "back", "remove")

    assert len(steps.progress.retired) == 1


def test_an_anchor_that_is_distrusted_opens_no_door_before_the_last_step(tmp_path: Path) -> None:
    mesh, steps = made(tmp_path)
    now = SystemClock.now()
    steps.take("add", distrust=True)
    take(steps, "switch", "remove")

    found = inputs.read(mesh, "cluster.local", LEAF_SECONDS, now)

    assert found.for_proofs(now) == list(found.anchors)


def test_an_anchor_that_is_distrusted_vouches_for_nothing_and_opens_no_door(
    tmp_path: Path,
) -> None:
    mesh, steps = made(tmp_path)
    old, now = mesh.anchors(), SystemClock.now()
    steps.take("add", distrust=True)
    take(steps, "switch", "remove", "finish")

    found = inputs.read(mesh, "cluster.local", LEAF_SECONDS, now)

    assert found.for_proofs(now) == list(found.anchors)
    assert not material.crossed(mesh, now)
    assert old[0] not in mesh.certificates(mesh.server_file)


def test_an_anchor_that_is_vouched_for_ends_with_the_one_that_vouches() -> None:
    now = SystemClock.now()
    old, new = make_anchor("cluster.local", now, 3600.0), make_anchor("cluster.local", now)

    crossed = cross_sign(new.certificate, old, now)

    assert crossed.not_valid_after_utc == old.certificate.not_valid_after_utc
    assert crossed.public_key() == new.certificate.public_key()
    crossed.verify_directly_issued_by(old.certificate)
