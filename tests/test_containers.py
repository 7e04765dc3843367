"""The Dockerfile and docker-compose.yml fit the code, and each other. Docker itself is not needed."""

import importlib.metadata
import importlib.util
import json
from importlib import import_module
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from common import config
from demo.compose.bootstrap import SHARES, lay_out
from docs.generate import PROGRAMS
from proxy.redirect.__main__ import main as redirect
from tests.support.compose import ROOT, Container, containers, document, stages
from tests.test_sidecar import ABSENT_FROM_IMAGE

CONTAINERS = containers()
STAGES = stages()
SETTINGS = {command.split()[-1]: module for command, module in PROGRAMS.items()}
EVERY = pytest.mark.parametrize("container", CONTAINERS.values(), ids=str)


def settings_of(program: str) -> type[msgspec.Struct]:
    struct: type[msgspec.Struct] = import_module(SETTINGS[program]).Settings
    return struct


# --- images -----------------------------------------------------------------------------------


def test_what_an_image_is_built_from_is_there_and_let_in() -> None:
    let_in = (ROOT / ".dockerignore").read_text().split()
    copied = [
        source.rstrip("/")
        for stage in STAGES.values()
        for word, rest in stage.instructions
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]

    assert {"common", "proxy", "services", "cli", "demo", "k8s", "packaging"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in let_in


def test_a_stage_takes_files_only_from_stages() -> None:
    for stage in STAGES.values():
        assert stage.parent in STAGES or stage.parent.startswith("python:")
        for word, rest in stage.instructions:
            if word == "COPY" and rest.startswith("--from="):
                assert rest.removeprefix("--from=").split()[0] in STAGES


@pytest.mark.parametrize(("target", "uid"), [("control", 2103), ("proxy", 2102)])
def test_an_image_runs_as_its_own_user_and_says_how_it_is(target: str, uid: int) -> None:
    stage = STAGES[target]

    assert stage.last("USER") == f"{uid}:{uid}"
    assert [word for word, _ in stage.instructions].index("USER") > 0
    assert "/ready" in stage.last("HEALTHCHECK")
    compile(json.loads(stage.last("HEALTHCHECK").partition("CMD ")[2])[2], target, "exec")


def test_the_sidecar_image_holds_nothing_that_the_sidecar_does_not_need() -> None:
    installed = importlib.metadata.packages_distributions()
    unwanted = {canonicalize_name(d) for name in ABSENT_FROM_IMAGE for d in installed.get(name, [])}

    assert unwanted, "there is something to leave out"
    assert not unwanted & _needed("tulle")


def _needed(distribution: str) -> set[str]:
    """What pip installs with a distribution when nobody asks for extras."""
    wanted, todo = set[str](), [canonicalize_name(distribution)]
    while todo:
        name = todo.pop()
        if name in wanted:
            continue
        wanted.add(name)
        for line in importlib.metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(canonicalize_name(requirement.name))
    return wanted


# --- the compose file -------------------------------------------------------------------------


@EVERY
def test_a_container_runs_something_that_is_in_its_image(container: Container) -> None:
    scripts = importlib.metadata.distribution("tulle").entry_points.select(group="console_scripts")
    programs = {"sleep", "nats-server", *(script.name for script in scripts)}
    words = container.raw.get("entrypoint", container.command)

    assert container.target in STAGES
    assert container.raw["image"] == f"tulle-{container.target}"
    if container.module:
        found = importlib.util.find_spec(container.module)
        assert found, f"{container.module} is not there"
        if found.submodule_search_locations:
            assert importlib.util.find_spec(f"{container.module}.__main__")
    elif words:
        assert words[0] in programs
    else:
        assert container.target == "proxy", "the sidecar runs what its image says"


@EVERY
def test_a_program_understands_its_environment(container: Container) -> None:
    program = container.module or ("proxy" if container.name.endswith("-proxy") else "")
    ours = {name for name in container.environment if name.startswith("TULLE_")}
    if program not in SETTINGS:
        assert program.startswith("demo.") or container.raw.get("entrypoint") or not ours
        return
    struct = settings_of(program)

    config.load(struct, container.environment)

    assert ours <= {config.variable(field.name) for field in msgspec.structs.fields(struct)}


@pytest.mark.parametrize("name", [name for name in CONTAINERS if name.endswith("-redirect")])
def test_a_redirect_exempts_the_proxy_and_not_the_application(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = CONTAINERS[name].command[3:]
    application = CONTAINERS[name.replace("-redirect", "-app")]

    assert redirect([*arguments, "--simulate"]) == 0
    assert "--uid-owner 2102" in capsys.readouterr().out
    assert CONTAINERS[name.replace("-redirect", "-proxy")].uid is None, "the image's: 2102"
    assert application.uid not in (None, 0, 2102)


@EVERY
def test_what_a_container_waits_for_can_happen(container: Container) -> None:
    for name, how in container.raw.get("depends_on", {}).items():
        other = CONTAINERS[name]
        if how["condition"] == "service_healthy":
            assert not other.raw.get("healthcheck", {}).get("disable")
        else:
            assert how["condition"] == "service_completed_successfully"
            assert "restart" not in other.raw, "what is started again never completes"


@EVERY
def test_only_set_up_runs_as_root_and_nothing_gains_rights(container: Container) -> None:
    allowed = {"bootstrap": {"CHOWN", "DAC_OVERRIDE", "FOWNER"}}
    if container.name.endswith("-redirect"):
        allowed[container.name] = {"NET_ADMIN", "NET_RAW"}

    assert container.raw["cap_drop"] == ["ALL"]
    assert container.raw["read_only"] is True
    assert container.raw["security_opt"] == ["no-new-privileges:true"]
    assert set(container.raw.get("cap_add", ())) == allowed.get(container.name, set())
    assert (container.uid == 0) == (container.name in allowed)
    assert not container.raw.get("privileged")


def test_every_volume_is_declared_and_a_secret_has_one_reader() -> None:
    readers: dict[str, set[str]] = {name: set() for name in document()["volumes"]}
    for container in CONTAINERS.values():
        for mount in container.mounts:
            if not mount.source.startswith("."):
                readers[mount.source].add(container.name)
            else:
                assert (ROOT / mount.source).exists()

    # Identity keeps current what others have of its own directory, and no other's.
    for part in SHARES:
        readers[part].remove("identity")
    assert all(len(names - {"bootstrap"}) == 1 for names in readers.values()), readers


def test_what_people_can_reach_is_reachable_from_this_machine_only() -> None:
    for container in CONTAINERS.values():
        assert all(port.startswith("127.0.0.1:") for port in container.raw.get("ports", ()))


# --- the directory that destination follows ---------------------------------------------------


def test_the_directory_names_the_addresses_that_the_containers_have() -> None:
    pool = document()["networks"]["default"]["ipam"]["config"][0]
    given = {
        name: container.raw["networks"]["default"]["ipv4_address"]
        for name, container in CONTAINERS.items()
        if "networks" in container.raw
    }
    pods = {o["metadata"]["name"]: o["status"]["podIP"] for o in _objects("Pod")}
    services = {o["metadata"]["name"]: o["spec"]["clusterIP"] for o in _objects("Service")}
    endpoints = {
        each["targetRef"]["name"]: each["addresses"]
        for o in _objects("EndpointSlice")
        for each in o["endpoints"]
    }

    assert pods == given
    assert {name: [pods[name]] for name in endpoints} == endpoints
    for address in (*pods.values(), *services.values()):
        assert ip_address(address) in ip_network(pool["subnet"])
        assert ip_address(address) not in ip_network(pool["ip_range"])
    assert len({*pods.values(), *services.values()}) == len(pods) + len(services)
    for name in pods:
        hosts = [f"{service}:{address}" for service, address in services.items()]
        assert sorted(CONTAINERS[name].raw["extra_hosts"]) == sorted(hosts)


def test_a_sidecar_is_who_the_directory_says() -> None:
    for pod in _objects("Pod"):
        proxy = CONTAINERS[f"{pod['metadata']['name']}-proxy"]

        assert proxy.pod == pod["metadata"]["name"]
        assert {
            "TULLE_NAMESPACE": pod["metadata"]["namespace"],
            "TULLE_WORKLOAD": pod["metadata"]["name"],
            "TULLE_UID": pod["metadata"]["uid"],
            "TULLE_OWNER": pod["metadata"]["ownerReferences"][0]["name"],
            "TULLE_SERVICE_ACCOUNT": pod["spec"]["serviceAccountName"],
        }.items() <= proxy.environment.items()


def _objects(kind: str) -> list[dict[str, Any]]:
    folder: Path = ROOT / "demo" / "compose" / "directory"
    return [
        each
        for path in sorted(folder.glob("*.yaml"))
        for each in yaml.safe_load_all(path.read_text())
        if each["kind"] == kind
    ]


# --- what bootstrap lays where ----------------------------------------------------------------


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every volume by name, as bootstrap leaves it."""
    root = tmp_path_factory.mktemp("volumes")
    mounts = CONTAINERS["bootstrap"].mounts
    lay_out(root / "mesh", root / "parts")
    return {m.source: root / Path(m.target).relative_to("/") for m in mounts}


@EVERY
def test_a_container_finds_every_file_that_it_is_told_of(
    container: Container, volumes: dict[str, Path]
) -> None:
    told = [
        value for value in (*container.environment.values(), *container.command) if "/" in value
    ]
    for value in told:
        for mount in container.mounts:
            inside = value.removeprefix(mount.target)
            # The state directory is the proxy's to make.
            if mount.source in volumes and inside != value and inside != "/state":
                assert (volumes[mount.source] / inside.lstrip("/")).exists(), value


def test_a_part_holds_its_readers_secrets_and_nobody_elses(volumes: dict[str, Path]) -> None:
    held = {
        name: {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        for name, folder in volumes.items()
    }

    assert held.pop("mesh") >= {"issuer/issuer.key", "tokens/tokens.key", "nats/account.seed"}
    assert held == {
        "nats": {"nats/nats.conf", "nats/server.pem", "nats/server.key"},
        "destination": {"trust/anchor.pem", "keys/destination.seed"},
        "telemetry": {"trust/anchor.pem", "keys/telemetry.seed"},
        "operator": {"trust/anchor.pem", "keys/operator.seed", "bus.json"},
        **{pod["metadata"]["name"]: {"anchors.pem", "token"} for pod in _objects("Pod")},
    }


def test_a_second_bootstrap_changes_no_key(tmp_path: Path) -> None:
    def keys() -> dict[Path, bytes]:
        return {
            path: path.read_bytes()
            for path in tmp_path.rglob("*")
            if path.suffix in (".key", ".seed", ".pem", ".conf")
        }

    lay_out(tmp_path / "mesh", tmp_path / "parts")
    before = keys()
    lay_out(tmp_path / "mesh", tmp_path / "parts")

    assert len(before) > 20
    assert keys() == before
