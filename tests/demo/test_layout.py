"""Names and addresses of everything, and the Kubernetes shapes and programs that follow from them."""

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from demo import manifests, namespaces
from demo.layout import TRANSPARENT_NETWORK, Layout, lay_out
from demo.messages import Answers, Finishes, Listens, Program, Runs
from demo.plan import parse
from demo.programs import Paths, Programs, clean

APPLICATION = parse(
    """
namespace: shop
workloads:
  - {name: client, command: "curl {address}", calls: [web]}
  - name: web
    command: ["{python}", "serve", "--on", "{address}:{port}", "--number", "{replica}"]
    ports: [8000]
    replicas: 2
    env: {NAME: "web {replica}"}
    replica_env: {2: {SLOW: "1"}}
  - {name: db, command: postgres, ports: [{port: 5432, protocol: tulle.dev/tcp}], meshed: false}
"""
)
EXPLICIT_NETWORK = IPv4Network("127.77.0.0/16")


@pytest.fixture
def transparent() -> Layout:
    return lay_out(APPLICATION, "transparent", TRANSPARENT_NETWORK)


@pytest.fixture
def explicit() -> Layout:
    return lay_out(APPLICATION, "explicit", EXPLICIT_NETWORK)


def programs(layout: Layout, root: Path) -> dict[str, Program]:
    made = Programs(
        layout, Paths(root=root), {"PATH": "/bin", "HTTP_PROXY": "x"}, 4222, "cluster.local"
    )
    return {program.name: program for stage in made.stages() for program in stage}


def test_every_replica_has_an_address_of_its_own_in_the_network(transparent: Layout) -> None:
    assert {str(r.name): r.address for r in transparent.replicas} == {
        "shop/client-1": "10.66.1.1",
        "shop/web-1": "10.66.1.2",
        "shop/web-2": "10.66.1.3",
        "shop/db-1": "10.66.1.4",
    }
    assert transparent.control == "10.66.0.1"
    assert len({replica.uid for replica in transparent.replicas}) == 4


def test_services_have_addresses_that_exist_nowhere(transparent: Layout) -> None:
    assert {str(s.name): s.address for s in transparent.services} == {
        "web.shop": "10.96.0.10",
        "db.shop": "10.96.0.11",
    }


def test_the_hosts_file_knows_every_spelling_of_a_service(transparent: Layout) -> None:
    assert "10.96.0.10 web web.shop web.shop.svc.cluster.local" in manifests.hosts(transparent)


def test_a_pod_says_whether_it_is_meshed_and_who_owns_it(transparent: Layout) -> None:
    web, db = (manifests.pod(transparent.replicas[number]) for number in (1, 3))

    assert web["metadata"]["labels"] == {"app": "web", "tulle.dev/meshed": "true"}
    assert web["metadata"]["ownerReferences"][0]["name"] == "web"
    assert web["status"]["podIP"] == "10.66.1.2"
    assert db["metadata"]["labels"] == {"app": "db"}


def test_a_slice_names_the_replicas_and_the_protocol(transparent: Layout) -> None:
    db = manifests.slice_of(transparent.services[1])

    assert db["ports"] == [{"name": "p5432", "port": 5432, "appProtocol": "tulle.dev/tcp"}]
    assert [endpoint["targetRef"]["name"] for endpoint in db["endpoints"]] == ["db-1"]


def test_stages_begin_with_the_bus_and_end_with_those_who_only_send(
    transparent: Layout, tmp_path: Path
) -> None:
    made = Programs(transparent, Paths(root=tmp_path), {}, 4222, "cluster.local").stages()

    assert [[program.name for program in stage] for stage in made] == [
        ["nats-server", "client-1-redirect", "web-1-redirect", "web-2-redirect"],
        ["identity"],
        [
            *("destination", "telemetry", "client-1-proxy", "web-1-proxy", "web-2-proxy"),
            *("web-1", "web-2", "db-1"),
        ],
        ["client-1"],
    ]


def test_an_application_is_told_where_to_listen(transparent: Layout, tmp_path: Path) -> None:
    web = programs(transparent, tmp_path)["web-2"]

    assert web.argv[1:] == ("serve", "--on", "0.0.0.0:8000", "--number", "2")
    assert {k: web.env[k] for k in ("HOST", "PORT", "REPLICA", "NAME", "SLOW")} == {
        "HOST": "0.0.0.0",
        "PORT": "8000",
        "REPLICA": "2",
        "NAME": "web 2",
        "SLOW": "1",
    }
    assert web.host == "web-2"
    assert web.ready == Listens((8000,), "10.66.1.3")


def test_a_transparent_proxy_marks_its_sockets_and_knows_nothing_of_namespaces(
    transparent: Layout, tmp_path: Path
) -> None:
    made = programs(transparent, tmp_path)
    proxy, redirect = made["web-1-proxy"], made["web-1-redirect"]

    assert proxy.env["TULLE_MARK"] == str(namespaces.MARK)
    assert proxy.env["TULLE_OUTBOUND_LISTEN"] == "127.0.0.1:4140"
    assert proxy.env["TULLE_INBOUND_LISTEN"] == "0.0.0.0:4143"
    assert proxy.ready == Answers("http://10.66.1.2:4191/ready")
    assert str(namespaces.MARK) in redirect.argv
    assert redirect.ready == Finishes()
    assert "http_proxy" not in made["client-1"].env


def test_an_explicit_application_is_told_of_its_proxy(explicit: Layout, tmp_path: Path) -> None:
    made = programs(explicit, tmp_path)

    assert made["client-1"].env["http_proxy"] == "http://127.77.1.1:4140"
    assert made["client-1"].ready == Runs()
    assert made["web-1-proxy"].env["TULLE_OUTBOUND_LISTEN"] == "127.77.1.2:4140"
    assert made["web-1-proxy"].env["TULLE_MARK"] == "0"
    assert not any(name.endswith("-redirect") for name in made)
    assert not any(program.host for program in made.values())


def test_programs_have_the_users_environment_without_other_proxies_and_meshes() -> None:
    env = clean(
        {"HOME": "/h", "PATH": "/bin", "https_proxy": "x", "NO_PROXY": "y", "TULLE_BUS": "z"}
    )

    assert env["HOME"] == "/h"
    assert env["PATH"].startswith("/bin:")
    assert "/usr/sbin" in env["PATH"].split(":")
    assert not {"https_proxy", "NO_PROXY", "TULLE_BUS"} & set(env)


def test_a_hundred_replicas_have_different_cables(tmp_path: Path) -> None:
    many = parse(
        "workloads: [{name: a, command: x, replicas: 100}, {name: b, command: x, replicas: 100}]"
    )

    (_, _, root, *inside) = namespaces.build(
        lay_out(many, "transparent", TRANSPARENT_NETWORK), tmp_path / "hosts"
    )

    cables = [line.split()[2] for line in root.text.splitlines() if "type veth" in line]
    assert len(set(cables)) == len(inside) == 200
    assert all(len(cable) <= 15 for cable in cables)
