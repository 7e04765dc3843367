"""A rotation of the bus's own keys on the files of a mesh directory: resumed, taken back, and no key left."""

import shutil
from pathlib import Path

import pytest

from common.clock import ManualClock, SystemClock
from common.errors import Refused
from common.x509 import fingerprint, generate_key, load_key, public_pem
from services.identity import key_files, key_progress, nats_files
from services.identity.bootstrap import bootstrap
from services.identity.directory import MeshDirectory, beside
from services.identity.holders import HOLDERS
from services.identity.key_progress import KINDS
from services.identity.key_steps import KeySteps
from services.identity.keyring import Keyring
from services.identity.permissions import ROLES
from services.identity.tokens import LONGEST

PROGRESS = "keys/rotation.json"


def made(path: Path) -> tuple[MeshDirectory, KeySteps, ManualClock]:
    mesh = bootstrap(path / "mesh")
    clock = ManualClock(SystemClock.now())
    return mesh, started(mesh, clock), clock


def started(mesh: MeshDirectory, clock: ManualClock) -> KeySteps:
    steps = KeySteps(mesh, clock)
    steps.resume()
    return steps


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def users(mesh: MeshDirectory) -> set[str]:
    """The public keys of services and of the operator that NATS is told."""
    lines = mesh.nats_config_file.read_text().splitlines()
    return {line.split("nkey: ")[1].strip() for line in lines if "{ nkey: U" in line}


def publics(mesh: MeshDirectory) -> set[str]:
    return {mesh.user(role).public for role in HOLDERS}


def sides(mesh: MeshDirectory) -> set[str]:
    return {name for name in files(mesh.root) if Path(name).name.startswith(("old.", "new."))}


def test_nats_knows_both_keys_until_nobody_has_the_old_one(tmp_path: Path) -> None:
    mesh, steps, _ = made(tmp_path)
    old = publics(mesh)
    nobody_s = users(mesh) - old
    assert len(nobody_s) == 1

    steps.begin(KINDS, distrust=False)
    both = users(mesh) - nobody_s
    assert old < both
    assert publics(mesh) == old
    config = mesh.nats_config_file.read_bytes()

    steps.take()
    new = publics(mesh)
    assert both == old | new
    assert not old & new
    # Servers that have read it once are not asked again.
    assert mesh.nats_config_file.read_bytes() == config

    steps.take()
    assert users(mesh) - nobody_s == new

    steps.take()
    assert steps.progress.phase == "steady"
    assert users(mesh) - nobody_s == new == publics(mesh)


def test_identity_knows_what_nats_may_ask_with_until_it_is_over(tmp_path: Path) -> None:
    mesh, steps, _ = made(tmp_path)
    ring = Keyring(mesh)
    account, box = mesh.account().public, mesh.callout().public

    steps.begin(("account", "callout"), distrust=False)
    assert len(ring.accounts) == len(ring.boxes) == 2
    text = mesh.nats_config_file.read_text()
    assert account in ring.accounts
    assert box in ring.boxes
    assert account not in text
    assert box not in text

    for _ in range(3):
        assert len(ring.accounts) == 2
        steps.take()

    assert set(ring.accounts) == {mesh.account().public}
    assert set(ring.boxes) == {mesh.callout().public}
    assert mesh.account().public != account
    assert mesh.callout().public != box


def test_after_the_last_step_an_old_key_is_nowhere(tmp_path: Path) -> None:
    mesh, steps, _ = made(tmp_path)
    old = {path.read_bytes() for kind in KINDS for path in key_files.used(mesh, kind)}
    steps.begin(KINDS, distrust=True)
    for _ in range(3):
        steps.take()

    found = files(mesh.root)

    assert len(old) == 9
    assert not {name for name, data in found.items() for key in old if key.strip() in data}
    assert sides(mesh) == set()
    assert all(path.stat().st_mode & 0o077 == 0 for path in mesh.root.rglob("*.seed"))


def test_what_is_not_named_stays_as_it_is(tmp_path: Path) -> None:
    mesh, steps, _ = made(tmp_path)
    before = files(mesh.root)
    steps.begin(("tokens",), distrust=False)
    for _ in range(3):
        steps.take()

    after = files(mesh.root)

    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"tokens/tokens.key", "tokens/tokens.pem", PROGRESS}


@pytest.mark.parametrize("number", range(4))
def test_a_step_that_was_cut_short_is_taken_to_its_end(tmp_path: Path, number: int) -> None:
    mesh, steps, clock = made(tmp_path)
    for step in range(number):
        steps.take() if step else steps.begin(KINDS, distrust=False)
    shutil.copytree(mesh.root, tmp_path / "before")
    steps.take() if number else steps.begin(KINDS, distrust=False)
    after = files(mesh.root)

    # It got no further than to lay new keys beside the old, and to write down how far it is.
    for name in {PROGRESS, *sides(mesh)}:
        shutil.copy(mesh.root / name, tmp_path / "before" / name)
    shutil.rmtree(mesh.root)
    (tmp_path / "before").rename(mesh.root)
    started(mesh, clock)

    assert files(mesh.root) == after


def test_keys_that_were_made_before_it_began_are_made_again(tmp_path: Path) -> None:
    mesh, _, clock = made(tmp_path)
    before = files(mesh.root)
    key_files.make(mesh, KINDS)

    started(mesh, clock)

    assert files(mesh.root) == before


@pytest.mark.parametrize("number", range(3))
def test_taken_back_from_anywhere_the_old_keys_are_in_force(tmp_path: Path, number: int) -> None:
    mesh, steps, _ = made(tmp_path)
    before = files(mesh.root)
    steps.begin(KINDS, distrust=False)
    for _ in range(number):
        steps.take()
    text = mesh.nats_config_file.read_text()

    steps.turn_back()
    # Who has either key gets in; with the account's key NATS is the first to go back.
    assert {mesh.user(role).public for role in ROLES} < users(mesh)
    assert mesh.account().public not in mesh.nats_config_file.read_text()
    assert mesh.nats_config_file.read_text() != text
    for _ in range(3):
        steps.take()

    after = files(mesh.root)
    assert set(after) - set(before) == {PROGRESS}
    assert {name for name in before if before[name] != after[name]} == {"tokens/tokens.pem"}
    assert steps.progress.completed == 0


def test_join_tokens_of_the_old_key_are_good_until_none_can_be(tmp_path: Path) -> None:
    mesh, steps, clock = made(tmp_path)
    by_hand = generate_key().public_key()
    with mesh.tokens_file.open("ab") as file:
        file.write(public_pem(by_hand))
    (old, _) = mesh.token_keys()
    steps.begin(("tokens",), distrust=False)
    assert len(mesh.token_keys()) == 3
    for _ in range(3):
        steps.take()
    new = load_key(mesh.read(mesh.tokens_key_file)).public_key()
    assert _known(mesh) == {fingerprint(key) for key in (old, new, by_hand)}

    clock.advance(LONGEST - 1)
    steps.forget()
    assert len(mesh.token_keys()) == 3
    clock.advance(2)
    steps.forget()

    assert _known(mesh) == {fingerprint(key) for key in (new, by_hand)}
    assert key_progress.load(mesh).retired == ()


def test_join_tokens_of_a_key_that_is_distrusted_are_worthless_at_once(tmp_path: Path) -> None:
    mesh, steps, _ = made(tmp_path)
    (old,) = _known(mesh)
    steps.begin(("tokens",), distrust=True)
    assert old in _known(mesh), "the new one signs nothing yet"

    steps.take()

    assert len(_known(mesh)) == 1
    assert old not in _known(mesh)


def test_nothing_begins_twice_and_nothing_goes_on_that_has_not_begun(tmp_path: Path) -> None:
    mesh, steps, _ = made(tmp_path)
    with pytest.raises(Refused, match="no rotation is under way"):
        steps.take()
    with pytest.raises(Refused, match="back: no rotation is under way"):
        steps.turn_back()
    steps.begin(("services",), distrust=False)
    with pytest.raises(Refused, match="another rotation is under way: of services"):
        steps.begin(("tokens",), distrust=False)

    mesh.servers_file.unlink()
    other = bootstrap(tmp_path / "other")
    other.servers_file.unlink()
    with pytest.raises(Refused, match=r"servers.json: not there; expected what bootstrap writes"):
        started(other, ManualClock()).begin(("services",), distrust=False)


def test_a_configuration_is_marked_and_bootstrap_keeps_a_rotation_going(tmp_path: Path) -> None:
    mesh, steps, _ = made(tmp_path)
    (before,) = nats_files.marks(mesh).values()
    steps.begin(("services",), distrust=False)
    (after,) = nats_files.marks(mesh).values()
    found = files(mesh.root)

    bootstrap(mesh.root)

    assert before.startswith("configuration:")
    assert after != before
    assert files(mesh.root) == found
    assert beside(mesh.seed_file("identity"), "new").exists()


def _known(mesh: MeshDirectory) -> set[str]:
    return {fingerprint(key) for key in mesh.token_keys()}
