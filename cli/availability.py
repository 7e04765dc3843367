"""`tulle install --ha`: the shape in which any one machine may go, and nobody notices."""

from cli.manifests import Json, Manifests, command, container, has_variable, pod, set_variable

NODES = 3
REPLICAS = {"identity": 3, "destination": 2, "injector": 2, "telemetry": 2}
HOST = "kubernetes.io/hostname"
BUS = ",".join(f"tls://tulle-nats-{n}.tulle-nats.tulle.svc:4222" for n in range(NODES))


def make_available(manifests: Manifests) -> None:
    """Three NATS servers, several of each service, none two on one machine, and no pod without its proxy."""
    nats = manifests.one("StatefulSet", "tulle-nats")
    nats["spec"]["replicas"] = NODES
    # Each server has a configuration of its own, by its name.
    container(nats)["command"] = ["nats-server", "--config", "/mesh/nats/$(POD_NAME).conf"]
    _apart(nats)
    for name, count in REPLICAS.items():
        service = manifests.one("Deployment", f"tulle-{name}")
        service["spec"]["replicas"] = count
        # Where there are as many machines as replicas, one has to go before another can come.
        limits = {"maxUnavailable": 1, "maxSurge": 1}
        service["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": limits}
        _apart(service)
    for job in manifests.workloads():
        if job["kind"] == "Job":
            command(job).extend(["--nodes", str(NODES)])
        for variable in ("TULLE_BUS", "TULLE_PROXY_BUS"):
            if has_variable(job, variable):
                set_variable(job, variable, BUS)
    for webhook in manifests.one("MutatingWebhookConfiguration", "tulle-injector")["webhooks"]:
        webhook["failurePolicy"] = "Fail"


def _apart(workload: Json) -> None:
    term = {"topologyKey": HOST, "labelSelector": workload["spec"]["selector"]}
    pod(workload)["affinity"] = {
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    }
