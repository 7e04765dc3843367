"""Mesh directories: made whole, kept, and never overwritten."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from common.clock import ManualClock, SystemClock
from common.errors import InvalidSettings
from common.nats_server import find_binary
from common.x509 import key_pem, verified
from services.identity import nats_files
from services.identity.bootstrap import bootstrap, main
from services.identity.directory import MeshDirectory
from services.identity.permissions import ROLES
from services.identity.roots import NODE, has_routes

SECRET = {"anchor.key", "issuer.key", "tokens.key", "server.key", "account.seed", "nats.conf"}


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def names(mesh: MeshDirectory) -> set[str]:
    extensions = mesh.server().certificate.extensions
    value = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in value}


def test_the_command_makes_a_directory_with_which_nats_starts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "services.identity.bootstrap", "mesh", "--nats-port", "5333"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    mesh = MeshDirectory(tmp_path / "mesh")
    assert f"nats-server -c {mesh.nats_config_file}" in done.stdout
    assert mesh.bus().servers == ("tls://127.0.0.1:5333",)
    checked = [str(find_binary()), "-t", "-c", str(mesh.nats_config_file)]
    assert subprocess.run(checked, cwd="/", capture_output=True).returncode == 0


def test_everything_in_it_belongs_together(tmp_path: Path) -> None:
    mesh = bootstrap(tmp_path / "mesh", nats_hosts=["nats.example", "127.0.0.1", "::1"])

    now = SystemClock.now()
    anchors = mesh.anchors()
    assert mesh.anchor().certificate == anchors[0]
    assert mesh.issuer().certificate.issuer == anchors[0].subject
    assert names(mesh) == {"nats.example", "127.0.0.1", "::1"}
    with pytest.raises(Exception, match="does not lead to an anchor"):
        verified(mesh.server().chain, anchors, now)  # it is no client's
    assert len({mesh.user(role).public for role in ROLES}) == len(ROLES)
    assert mesh.bus().servers == ("tls://nats.example:4222",)


def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    mesh = bootstrap(tmp_path / "mesh")

    for path in [mesh.root, *mesh.root.rglob("*")]:
        if path.is_dir() or path.name in SECRET or path.suffix == ".seed":
            assert path.stat().st_mode & 0o077 == 0, path


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    mesh = bootstrap(tmp_path / "mesh")
    before = files(mesh.root)

    assert bootstrap(tmp_path / "mesh") == mesh
    assert files(mesh.root) == before


def test_a_second_run_follows_names_and_ports_and_keeps_the_keys(tmp_path: Path) -> None:
    mesh = bootstrap(tmp_path / "mesh")
    before = files(mesh.root)

    bootstrap(tmp_path / "mesh", nats_hosts=["nats.example"], nats_port=5222)

    after = files(mesh.root)
    changed = {name for name in after if after[name] != before[name]}
    made = {"nats/server.pem", "nats/server.key", "nats/nats.conf", "nats/servers.json"}
    assert changed == {*made, "bus.json"}
    assert names(mesh) == {"nats.example"}
    assert mesh.bus().servers == ("tls://nats.example:5222",)


def test_the_certificate_of_nats_is_renewed_when_most_of_its_life_is_over(tmp_path: Path) -> None:
    clock = ManualClock()
    mesh = bootstrap(tmp_path / "mesh", clock=clock)
    first = mesh.server().certificate

    clock.advance(0.6 * 365 * 86_400)
    assert bootstrap(tmp_path / "mesh", clock=clock).server().certificate == first
    clock.advance(0.2 * 365 * 86_400)
    assert bootstrap(tmp_path / "mesh", clock=clock).server().certificate != first


def test_a_directory_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(InvalidSettings, match=r"holds something, but no bus.json"):
        bootstrap(tmp_path)
    assert files(tmp_path) == {"thesis.txt": b"mine"}


def test_a_directory_that_was_left_half_made_is_not_touched(tmp_path: Path) -> None:
    mesh = bootstrap(tmp_path / "mesh")
    mesh.bus_file.unlink()

    with pytest.raises(InvalidSettings, match="left half made"):
        bootstrap(tmp_path / "mesh")


def test_a_directory_of_another_mesh_is_not_touched(tmp_path: Path) -> None:
    bootstrap(tmp_path / "mesh", trust_domain="one.example")

    with pytest.raises(InvalidSettings, match=r"made for trust domain 'one.example', not 'two"):
        bootstrap(tmp_path / "mesh", trust_domain="two.example")


def test_what_is_damaged_is_named(tmp_path: Path) -> None:
    mesh = bootstrap(tmp_path / "mesh")
    other = bootstrap(tmp_path / "other")
    damage = {
        mesh.bus_file: (b'{"servers": 5}', r"bus.json: Expected `array`.*\$.servers"),
        mesh.issuer_file: (b"junk", "issuer.pem: certificates: expected"),
        mesh.issuer_key_file: (key_pem(other.issuer().key), "not the key of the"),
        mesh.tokens_file: (b"junk", "tokens.pem: public keys: expected"),
        mesh.account_file: (b"SUjunk", "account.seed: nkey: expected a seed"),
        mesh.seed_file("identity"): (other.account_file.read_bytes(), "expected a user"),
    }

    def read_everything() -> None:
        mesh.bus(), mesh.anchors(), mesh.issuer(), mesh.token_keys(), mesh.account()
        mesh.user("identity")

    for path, (content, says) in damage.items():
        good = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(InvalidSettings, match=says):
            read_everything()
        path.unlink()
        with pytest.raises(InvalidSettings, match=f"{path}: No such file"):
            read_everything()
        path.write_bytes(good)
    read_everything()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--nats-port", "0"], "NATS port 0: expected 1 to 65535"),
        (["--nats-host", "Not A Host"], "NATS host 'Not A Host'"),
        (["--trust-domain", "UPPER"], "trust domain 'UPPER'"),
    ],
)
def test_mistakes_on_the_command_line_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main([str(tmp_path / "mesh"), *arguments]) == 2
    assert says in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(InvalidSettings, match="file"):
        bootstrap(tmp_path / "file" / "mesh")


def test_identity_says_plainly_what_is_wrong_with_its_directory(tmp_path: Path) -> None:
    def started(**env: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "services.identity"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)
        return done.returncode, done.stderr

    assert started() == (
        2,
        "TULLE_DIR: not set; expected the mesh directory, such as /var/lib/tulle/mesh; in"
        " Kubernetes a folder in memory, which is filled from the Secret tulle-mesh\n",
    )
    status, told = started(TULLE_DIR=str(tmp_path), TULLE_LEAF_SECONDS="1")
    assert (status, "TULLE_LEAF_SECONDS='1'" in told) == (2, True)
    status, told = started(TULLE_DIR=str(tmp_path))
    assert (status, told) == (
        2,
        f"{tmp_path}/bus.json: No such file or directory; expected a mesh directory\n",
    )
    mesh, other = bootstrap(tmp_path / "mesh"), bootstrap(tmp_path / "other")
    mesh.anchors_file.write_bytes(other.anchors_file.read_bytes())
    status, told = started(TULLE_DIR=str(mesh.root))
    assert status == 2
    assert told.startswith(f"{mesh.issuer_file}: the leaf does not lead to an anchor")
    mesh.anchors_file.write_text("junk")
    status, told = started(TULLE_DIR=str(mesh.root))
    assert (status, told) == (
        2,
        f"{mesh.anchors_file}: certificates: expected one or more in PEM\n",
    )


NODES = ["nats-1=10.0.0.1", "nats-2=nats-2.example:5222", "nats-3=[fd00::3]:4222:7222"]


def test_three_nodes_have_a_configuration_each_and_one_certificate(tmp_path: Path) -> None:
    options = [word for node in NODES for word in ("--node", node)]
    command = [sys.executable, "-m", "services.identity.bootstrap", "mesh", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    mesh = MeshDirectory(tmp_path / "mesh")
    assert mesh.bus().servers == (
        "tls://10.0.0.1:4222",
        "tls://nats-2.example:5222",
        "tls://[fd00::3]:4222",
    )
    assert {"10.0.0.1", "nats-2.example", "fd00::3"} < names(mesh)
    assert not mesh.nats_config_file.exists()
    assert len({mesh.node_config_file(f"nats-{n}").read_text() for n in (1, 2, 3)}) == 3
    for number in (1, 2, 3):
        config = mesh.node_config_file(f"nats-{number}")
        assert f"nats-server -c {config}" in done.stdout
        assert config.stat().st_mode & 0o077 == 0
        checked = [str(find_binary()), "-t", "-c", str(config)]
        assert subprocess.run(checked, cwd="/", capture_output=True).returncode == 0


def test_a_mesh_of_one_node_becomes_one_of_three_and_back_with_the_same_keys(
    tmp_path: Path,
) -> None:
    nodes = [nats_files.parse_node(node) for node in NODES]
    mesh = bootstrap(tmp_path / "mesh")
    before = files(mesh.root)

    bootstrap(mesh.root, nodes=nodes)
    assert has_routes(mesh.server().certificate)
    assert NODE not in names(bootstrap(tmp_path / "other"))
    bootstrap(mesh.root)

    after = files(mesh.root)
    assert not has_routes(mesh.server().certificate)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"nats/server.pem", "nats/server.key"}
    assert set(after) == set(before)


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        (["nats-1=10.0.0.1"], "1 nodes: expected three or five"),
        (["nats-1"], r"node 'nats-1': expected NAME=HOST\[:PORT\[:ROUTE_PORT\]\]"),
        (["Nats=10.0.0.1", *NODES[1:]], "node 'Nats'"),
        (["nats-1=Not_A_Host", *NODES[1:]], "NATS host 'Not_A_Host'"),
        (["nats-1=10.0.0.1:70000", *NODES[1:]], "node nats-1: port 70000"),
        (["nats-1=10.0.0.1", *NODES[:2]], "expected a different name for each"),
        (["a=10.0.0.1", *NODES[:2]], "expected a different route for each"),
    ],
)
def test_nodes_that_cannot_be_a_cluster_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], nodes: list[str], says: str
) -> None:
    options = [word for node in nodes for word in ("--node", node)]

    assert main([str(tmp_path / "mesh"), *options]) == 2
    assert re.search(says, capsys.readouterr().err)


def test_keys_that_an_older_run_did_not_know_are_made_by_the_next(tmp_path: Path) -> None:
    mesh = bootstrap(tmp_path / "mesh")
    mesh.callout_file.unlink()
    mesh.seed_file("system").unlink()

    bootstrap(mesh.root)

    assert mesh.callout().public in mesh.nats_config_file.read_text()
    assert mesh.user("system").public in mesh.nats_config_file.read_text()
