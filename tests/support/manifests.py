"""What k8s/ says, plain or with options, read without a cluster."""

from collections.abc import Iterator
from typing import Any

import yaml

from cli.availability import make_available
from cli.manifests import Manifests

Json = dict[str, Any]
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def objects(*, ha: bool = False) -> list[Json]:
    """Every object, in the order in which they are applied."""
    manifests = Manifests()
    if ha:
        make_available(manifests)
    return [item for item in yaml.load_all(manifests.text(), Loader=LOADER) if item]


class Workload:
    """What makes the pods of one part of the control plane; each has one container."""

    def __init__(self, raw: Json) -> None:
        self.raw = raw
        self.name = str(raw["metadata"]["name"])
        self.pod: Json = raw["spec"]["template"]["spec"]
        (self.container,) = self.pod["containers"]

    def __repr__(self) -> str:
        return f"<Workload {self.name}>"

    @property
    def command(self) -> list[str]:
        return list(self.container["command"])

    @property
    def program(self) -> str:
        """What `python -m` runs; empty for another program."""
        return self.command[2] if self.command[:2] == ["python", "-m"] else ""

    @property
    def env(self) -> dict[str, str]:
        """Its variables; what Kubernetes fills in is spelled as the field that it comes from."""
        return {
            one["name"]: one.get("value") or one["valueFrom"]["fieldRef"]["fieldPath"]
            for one in self.container.get("env", ())
        }

    @property
    def ports(self) -> dict[str, int]:
        return {one["name"]: one["containerPort"] for one in self.container.get("ports", ())}

    @property
    def mounts(self) -> dict[str, Json]:
        """By path: what is mounted there, and whether it is `readOnly`."""
        volumes = {one["name"]: one for one in self.pod["volumes"]}
        for claim in self.raw["spec"].get("volumeClaimTemplates", ()):
            volumes[claim["metadata"]["name"]] = {"claim": claim}
        mounts = self.container["volumeMounts"]
        assert {one["name"] for one in mounts} == volumes.keys(), "what is there is used"
        return {one["mountPath"]: volumes[one["name"]] | one for one in mounts}


def workloads(items: list[Json]) -> Iterator[Workload]:
    """What makes pods."""
    return (Workload(item) for item in items if "template" in item.get("spec", {}))
