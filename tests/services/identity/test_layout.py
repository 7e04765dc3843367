"""What of the mesh directory lies where in a cluster: all of it in one place, elsewhere what is needed."""

import subprocess
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.clock import SystemClock
from common.kube.stored import Stored
from common.nats_server import find_binary
from common.x509 import chain_pem, key_pem
from services.identity.cluster import layout
from services.identity.cluster.bootstrap import Wanted, make
from services.identity.directory import MeshDirectory
from services.identity.roots import make_anchor, make_issuer

CLOCK = SystemClock()
NAMES = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}", fullmatch=True)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> MeshDirectory:
    work = tmp_path_factory.mktemp("mesh")
    whole = make(work / "made", Wanted(nodes=3), None, CLOCK)
    layout.unpack(whole.data, work / "mesh")
    return MeshDirectory(work / "mesh")


def by_name(mesh: MeshDirectory) -> dict[str, Stored]:
    return {thing.name: thing for thing in layout.derived(mesh)}


@given(st.sampled_from(["trust", "issuer", "tokens", "nats", "keys"]), NAMES)
def test_a_file_has_one_key_and_the_key_leads_back_to_it(folder: str, name: str) -> None:
    path = PurePosixPath(folder, name)

    if folder != "issuer" or name not in layout.FOREIGN:
        assert layout.path_of(layout.key_of(path)) == path


@given(st.text(alphabet="abktrus./-_\\\n", max_size=20))
def test_no_key_leads_out_of_the_directory(key: str) -> None:
    path = layout.path_of(key)

    if path is not None:
        assert ".." not in path.parts
        assert not path.is_absolute()
        assert len(path.parts) <= 2
        assert layout.key_of(path) == key


@pytest.mark.parametrize(
    "key",
    ["..", ".", "trust..", "trust...", "trust.", ".hidden", "keys..x", "", "issuer.tls.key", "a/b"],
)
def test_what_is_no_file_of_ours_has_no_place(key: str) -> None:
    assert layout.path_of(key) is None


def test_what_is_packed_is_the_whole_directory_and_nothing_else(
    mesh: MeshDirectory, tmp_path: Path
) -> None:
    (mesh.root / "issuer" / "tls.crt").write_text("from elsewhere")
    packed = layout.pack(mesh.root)
    (mesh.root / "issuer" / "tls.crt").unlink()
    (tmp_path / "copy" / "keys").mkdir(parents=True)
    (tmp_path / "copy" / "keys" / "left.seed").write_text("of yesterday")

    layout.unpack(packed, tmp_path / "copy")

    assert layout.pack(tmp_path / "copy") == packed == layout.pack(mesh.root)
    assert {
        "bus.json",
        "trust.anchor.key",
        "nats.tulle-nats-2.conf",
        "keys.system.seed",
    } < packed.keys()
    assert "issuer.tls.crt" not in packed
    assert not (tmp_path / "copy" / "keys" / "left.seed").exists()
    for path in (tmp_path / "copy").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


def test_each_program_gets_what_it_reads_and_no_more(mesh: MeshDirectory) -> None:
    things = by_name(mesh)
    seeds = {path.name: path.read_bytes() for path in mesh.root.rglob("*.seed")}
    private = {path.name: path.read_bytes() for path in mesh.root.rglob("*.key")}
    secrets = {**seeds, **private}

    assert {(t.kind, t.name) for t in things.values()} == set(layout.names())
    for role in ("destination", "injector", "telemetry", "operator"):
        assert things[f"tulle-bus-{role}"].data == {"nkey.seed": seeds[f"{role}.seed"]}
    nats = things["tulle-nats"].data
    told = {name for name, value in secrets.items() for held in nats.values() if value in held}
    assert told == {"server.key"}
    assert things["tulle-trust"].data == {"anchor.pem": mesh.anchors_file.read_bytes()}


def test_nats_starts_with_what_it_gets_and_tells_which_files_those_are(
    mesh: MeshDirectory, tmp_path: Path
) -> None:
    data = by_name(mesh)["tulle-nats"].data
    (tmp_path / "nats").mkdir()
    for name, value in data.items():
        (tmp_path / "nats" / name).write_bytes(value.replace(b'"/mesh/', f'"{tmp_path}/'.encode()))

    for number in range(3):
        config = tmp_path / "nats" / f"tulle-nats-{number}.conf"
        checked = subprocess.run([find_binary(), "-t", "-c", config], capture_output=True)
        assert checked.returncode == 0, checked.stderr
        assert f'server_tags: ["{layout.nats_tag(mesh)}"]' in config.read_text()


def test_whatever_changes_for_nats_its_tag_is_another(mesh: MeshDirectory, tmp_path: Path) -> None:
    layout.unpack(layout.pack(mesh.root), tmp_path)
    copy = MeshDirectory(tmp_path)
    tags = {layout.nats_tag(copy)}
    assert tags == {layout.nats_tag(mesh)}
    more = chain_pem(make_anchor("cluster.local", CLOCK.now()).chain)
    for path in (
        copy.server_file,
        copy.server_key_file,
        copy.anchors_file,
        copy.node_config_file("tulle-nats-1"),
    ):
        path.write_bytes(path.read_bytes() + more)
        tags.add(layout.nats_tag(copy))

    assert len(tags) == 5


def test_an_issuer_from_elsewhere_signs_nats_s_certificate_from_the_beginning(
    tmp_path: Path,
) -> None:
    anchor = make_anchor("cluster.local", CLOCK.now())
    issuer = make_issuer(anchor, "cluster.local", CLOCK.now())
    data = {
        "tls.crt": chain_pem(issuer.chain),
        "tls.key": key_pem(issuer.key),
        "ca.crt": chain_pem(anchor.chain),
    }
    elsewhere = Stored(kind="Secret", name="tulle-issuer", data=data)

    whole = make(tmp_path / "made", Wanted(), elsewhere, CLOCK)

    assert not [key for key in whole.data if "tls." in key]
    layout.unpack(whole.data, tmp_path / "mesh")
    mesh = MeshDirectory(tmp_path / "mesh")
    layout.place_issuer(data, mesh.root)
    assert mesh.server().certificate.issuer == issuer.certificate.subject
    assert anchor.certificate in mesh.anchors()
    trust = by_name(mesh)["tulle-trust"].data["anchor.pem"]
    assert chain_pem(anchor.chain) in trust
    layout.place_issuer(None, mesh.root)
    assert not mesh.foreign
