"""Parts of a mesh directory that others have: what is in them is kept current, and nothing is added."""

from pathlib import Path

from services.identity.bootstrap import bootstrap
from services.identity.directory import write
from services.identity.parts import Parts


def copied(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True)
    target.write_bytes(source.read_bytes())
    return target


def test_what_is_in_a_part_is_kept_current_and_nothing_is_added(tmp_path: Path) -> None:
    mesh = bootstrap(tmp_path / "mesh")
    seed, anchors = mesh.seed_file("telemetry"), mesh.anchors_file
    telemetry = copied(seed, tmp_path / "parts" / "telemetry" / "keys" / "telemetry.seed")
    nats = copied(anchors, tmp_path / "parts" / "nats" / "trust" / "anchor.pem")
    (nats.parent / "notes.txt").write_text("mine")
    parts = Parts(mesh, tmp_path / "parts")
    before = {*(tmp_path / "parts").rglob("*")}

    write(seed, mesh.read(mesh.seed_file("injector")))
    telemetry.chmod(0o644)
    parts.keep()

    assert telemetry.read_bytes() == seed.read_bytes()
    assert telemetry.stat().st_mode & 0o777 == 0o600
    assert (nats.parent / "notes.txt").read_text() == "mine"
    assert {*(tmp_path / "parts").rglob("*")} == before


def test_what_is_no_file_of_its_own_is_not_written(tmp_path: Path) -> None:
    mesh = bootstrap(tmp_path / "mesh")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    link = tmp_path / "parts" / "telemetry" / "keys" / "telemetry.seed"
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)

    Parts(mesh, tmp_path / "parts").keep()
    Parts(mesh, None).keep()

    assert elsewhere.read_text() == "theirs"
    assert link.is_symlink()
