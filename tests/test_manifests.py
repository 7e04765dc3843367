"""k8s/ fits the code: programs and their settings, ports, volumes, labels. No cluster is needed.

The same holds for what `tulle install --ha` makes of it.
"""

import importlib.util
import re
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import pytest

from cli.manifests import FOLDER
from common import config
from common.version import VERSION
from docs.generate import PROGRAMS
from services.injector.settings import Settings as Injector
from tests.support.compose import stages
from tests.support.manifests import Json, Workload, objects, workloads

SHAPES = {"plain": objects(), "ha": objects(ha=True)}
WORKLOADS = [
    pytest.param(workload, SHAPES[shape], id=f"{shape}-{workload.name}")
    for shape in SHAPES
    for workload in workloads(SHAPES[shape])
]
EVERY = pytest.mark.parametrize(("workload", "items"), WORKLOADS)
BOTH = pytest.mark.parametrize("items", SHAPES.values(), ids=SHAPES)
SETTINGS = {command.split()[-1]: module for command, module in PROGRAMS.items()}
# What Kubernetes fills in, as the programs see it.
FIELDS = {"metadata.name": "tulle-x-7d9", "metadata.namespace": "tulle"}
MADE_BY_BOOTSTRAP = {
    "tulle-nats",
    "tulle-trust",
    *(f"tulle-bus-{service}" for service in ("destination", "injector", "telemetry")),
}


def named(items: list[Json], kind: str) -> dict[str, Json]:
    return {item["metadata"]["name"]: item for item in items if item["kind"] == kind}


def settings_of(workload: Workload) -> Any:
    """What its program makes of its environment."""
    struct: type[msgspec.Struct] = import_module(SETTINGS[workload.program]).Settings
    return config.load(struct, {n: FIELDS.get(v, v) for n, v in workload.env.items()})


# --- programs ---------------------------------------------------------------------------------


@EVERY
def test_a_container_runs_something_that_is_in_its_image(workload: Workload, items: Any) -> None:
    assert workload.container["image"] == f"tulle-control:{VERSION}"
    if workload.program:
        assert importlib.util.find_spec(workload.program)
    else:
        assert workload.command[0] == "nats-server"


@EVERY
def test_a_program_understands_its_environment(workload: Workload, items: Any) -> None:
    ours = {name for name in workload.env if name.startswith("TULLE_")}
    if workload.program not in SETTINGS:
        assert workload.program in ("", "services.identity.cluster")
        return

    fields = msgspec.structs.fields(type(settings_of(workload)))

    assert ours <= {config.variable(field.name) for field in fields}


@EVERY
def test_what_a_program_reads_is_mounted_and_no_more(workload: Workload, items: Any) -> None:
    paths = {v for n, v in workload.env.items() if n.endswith(("_FILE", "_DIR"))}
    paths |= {word for word in workload.command if word.startswith("/")}
    inside = {
        path: next((m for m in workload.mounts if PurePosixPath(path).is_relative_to(m)), None)
        for path in paths
    }

    assert None not in inside.values(), inside
    # NATS reads more than its command line says; the Job needs a place to work in.
    known = {"tulle-nats": {"/var/lib/tulle"}}.get(workload.name, set())
    if workload.raw["kind"] == "Job":
        known = {"/tmp"}
    assert workload.mounts.keys() == known | set(inside.values())


@EVERY
def test_a_pod_waits_for_nothing_that_nobody_makes(workload: Workload, items: Any) -> None:
    made = MADE_BY_BOOTSTRAP | named(items, "Secret").keys()
    for mount in workload.mounts.values():
        source = mount.get("secret", {}).get("secretName") or mount.get("configMap", {}).get("name")
        assert source is None or source in made
        if "secret" in mount:
            assert mount["readOnly"]
            assert mount["secret"]["defaultMode"] == 0o440
        if "emptyDir" in mount:
            assert mount["emptyDir"]["medium"] == "Memory", "what is secret stays off the disk"


@EVERY
def test_a_program_listens_where_kubernetes_looks_for_it(workload: Workload, items: Any) -> None:
    probes = [workload.container[k] for k in workload.container if k.endswith("Probe")]
    listens = {n: v for n, v in workload.env.items() if n.endswith("_LISTEN")}

    assert all(listen.startswith("*:") for listen in listens.values()), "IPv4 and IPv6"
    if listens:
        assert {int(listen.rpartition(":")[2]) for listen in listens.values()} == set(
            workload.ports.values()
        )
        admin = int(settings_of(workload).admin_listen.rpartition(":")[2])
        assert admin == workload.ports["admin"]
        assert {probe["httpGet"]["port"] for probe in probes} == {"admin"}
        assert [probe["httpGet"]["path"] for probe in probes] == ["/live", "/ready", "/live"]
    for probe in probes:
        for word in probe.get("exec", {}).get("command", ())[2:]:
            compile(word, workload.name, "exec")
    assert len(probes) == (0 if workload.raw["kind"] == "Job" else 3)


# --- what fits together -----------------------------------------------------------------------


@BOTH
def test_a_service_and_a_budget_find_their_pods(items: list[Json]) -> None:
    pods = {w.name: w for w in workloads(items)}
    labels = {name: w.raw["spec"]["template"]["metadata"]["labels"] for name, w in pods.items()}

    assert named(items, "Service").keys() == {"tulle-nats", "tulle-injector", "tulle-telemetry"}
    for name, service in named(items, "Service").items():
        selector = service["spec"]["selector"].items()
        assert [pod for pod in labels if selector <= labels[pod].items()] == [name]
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in pods[name].ports
    budgets = named(items, "PodDisruptionBudget")
    assert budgets.keys() == {n for n, w in pods.items() if w.raw["kind"] != "Job"}
    for name, budget in budgets.items():
        assert budget["spec"]["selector"] == pods[name].raw["spec"]["selector"]
        assert budget["spec"]["maxUnavailable"] == 1
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels[name].items()


@BOTH
def test_the_webhook_leads_to_the_injector_and_spares_its_own_namespace(items: list[Json]) -> None:
    (configuration,) = named(items, "MutatingWebhookConfiguration").values()
    (webhook,) = configuration["webhooks"]
    settings = settings_of(next(w for w in workloads(items) if w.name == "tulle-injector"))
    where = webhook["clientConfig"]["service"]

    assert "caBundle" not in webhook["clientConfig"], "that is the injector's"
    assert (where["namespace"], where["name"], where["path"]) == ("tulle", settings.service, "/")
    assert where["port"] in {
        port["port"] for port in named(items, "Service")[settings.service]["spec"]["ports"]
    }
    assert configuration["metadata"]["name"] == settings.webhook
    assert settings.secret in named(items, "Secret")
    assert not named(items, "Secret")[settings.secret].keys() & {"data", "stringData"}
    assert isinstance(settings, Injector)
    assert settings.proxy_image == f"tulle-proxy:{VERSION}"
    labels = named(items, "Namespace")["tulle"]["metadata"]["labels"]
    for rule in webhook["namespaceSelector"]["matchExpressions"]:
        value = labels.get(rule["key"], "tulle")
        assert rule["operator"] == "NotIn"
        assert value in rule["values"]


@BOTH
def test_everybody_is_told_the_same_bus_and_the_same_mesh(items: list[Json]) -> None:
    told = [settings_of(w) for w in workloads(items) if w.program in SETTINGS]
    nats = next(w for w in workloads(items) if w.name == "tulle-nats")
    servers = {server for settings in told for server in settings.bus}

    assert len({settings.bus for settings in told}) == 1
    assert {settings.trust_domain for settings in told} == {"cluster.local"}
    assert all(server.endswith(f":{nats.ports['client']}") for server in servers)
    assert all(f"{nats.raw['spec']['serviceName']}.tulle.svc:" in server for server in servers)
    assert len(servers) == nats.raw["spec"]["replicas"]


# --- hygiene ----------------------------------------------------------------------------------


@BOTH
def test_everything_has_the_recommended_labels(items: list[Json]) -> None:
    recommended = {"name", "component", "part-of", "version", "managed-by"}
    for item in items:
        templates = (
            [item, item["spec"]["template"]] if "template" in item.get("spec", {}) else [item]
        )
        for each in templates:
            labels = each["metadata"]["labels"]
            found = {key.partition("/")[2] for key in labels if key.startswith("app.kubernetes.io")}
            assert found == recommended
            assert labels["app.kubernetes.io/version"] == VERSION
        selector = item.get("spec", {}).get("selector", {})
        assert "version" not in str(selector), "a selector cannot be changed"


@EVERY
def test_a_pod_has_no_right_that_it_does_not_need(workload: Workload, items: Any) -> None:
    pod, own = workload.pod["securityContext"], workload.container["securityContext"]
    account = named(items, "ServiceAccount")[workload.pod["serviceAccountName"]]

    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["runAsNonRoot"]
    assert f"{pod['runAsUser']}:{pod['runAsGroup']}" == stages()["control"].last("USER")
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & workload.pod.keys()
    # Who asks the cluster for nothing has nothing to ask with.
    asks = workload.name not in ("tulle-nats", "tulle-telemetry")
    assert account["automountServiceAccountToken"] is asks
    assert workload.pod["automountServiceAccountToken"] is asks


@EVERY
def test_a_pod_says_what_it_needs_and_takes_no_variables_from_services(
    workload: Workload, items: Any
) -> None:
    assert workload.container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert workload.container["imagePullPolicy"] == "IfNotPresent"
    # TULLE_INJECTOR_PORT and its like would look like settings.
    assert workload.pod["enableServiceLinks"] is False
    assert workload.pod["terminationGracePeriodSeconds"] >= 30


def test_the_job_is_named_after_the_version() -> None:
    (name,) = named(SHAPES["plain"], "Job")

    assert name == f"tulle-bootstrap-{VERSION.replace('.', '-')}"


def test_who_is_needed_comes_first() -> None:
    kinds = [(item["kind"], item["metadata"]["name"]) for item in SHAPES["plain"]]

    assert kinds[0] == ("Namespace", "tulle")
    assert kinds[-1][0] == "MutatingWebhookConfiguration"
    assert kinds.index(("Job", "tulle-bootstrap-0-1-0")) < kinds.index(
        ("StatefulSet", "tulle-nats")
    )
    for item in SHAPES["plain"]:
        account = item.get("spec", {}).get("template", {}).get("spec", {}).get("serviceAccountName")
        if account:
            here = kinds.index((item["kind"], item["metadata"]["name"]))
            assert kinds.index(("ServiceAccount", account)) < here
            bound = [
                n for n, (kind, name) in enumerate(kinds) if "Binding" in kind and name == account
            ]
            assert all(n < here for n in bound)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_file_says_what_it_is_for_and_every_right_why(file: Path) -> None:
    lines = file.read_text().splitlines()
    rules = [n for n, line in enumerate(lines) if re.match(r"  - apiGroups:", line)]

    assert lines[0].startswith("# ")
    for n in rules:
        assert lines[n - 1].startswith("  # "), f"{file.name}:{n + 1}: a right without a reason"
    assert not re.search(r"(verbs|resources|apiGroups|resourceNames): .*\*", "\n".join(lines))


@BOTH
def test_a_role_is_bound_to_the_one_account_of_its_name(items: list[Json]) -> None:
    for item in items:
        if item["kind"].endswith("RoleBinding"):
            name = item["metadata"]["name"]
            assert item["roleRef"]["name"] == name
            assert item["roleRef"]["kind"] == item["kind"].removesuffix("Binding")
            assert name in named(items, item["roleRef"]["kind"])
            assert item["subjects"] == [
                {"kind": "ServiceAccount", "name": name, "namespace": "tulle"}
            ]
