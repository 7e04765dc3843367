"""The manifests of k8s/, changed in places: what is not changed is printed as it is there, to the byte."""

import hashlib
import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from common.errors import InvalidSettings
from services.injector.yaml_text import InvalidManifest, Part, dump, parse

FOLDER = Path(__file__).resolve().parent.parent / "k8s"
WORKLOADS = ("Deployment", "StatefulSet", "Job")
MARK = "---\n"
Json = dict[str, Any]


class Manifests:
    """Every object, in the order in which they are applied; objects may be changed in place."""

    def __init__(self, folder: Path = FOLDER) -> None:
        """Raises InvalidSettings if there are no manifests in the folder."""
        files = sorted(folder.glob("*.yaml"))
        if not files:
            raise InvalidSettings(f"{folder}: no manifests; expected those of Tulle's k8s/")
        try:
            parts = [part for file in files for part in parse(file.read_text())]
        except InvalidManifest as error:
            raise InvalidSettings(f"{folder}: {error}") from None
        self._parts = [part for part in parts if part.value is not None]
        self._before = [deepcopy(part.value) for part in self._parts]

    def __iter__(self) -> Iterator[Json]:
        return (part.value for part in self._parts)

    def one(self, kind: str, name: str) -> Json:
        """The object of that kind and name; raises InvalidSettings if there is none."""
        for item in self:
            if (item["kind"], item["metadata"]["name"]) == (kind, name):
                return item
        raise InvalidSettings(f"k8s/: no {kind} {name}; expected Tulle's own manifests")

    def workloads(self) -> Iterator[Json]:
        """Everything that makes pods."""
        return (item for item in self if item["kind"] in WORKLOADS)

    def text(self) -> str:
        """All of it as one stream."""
        return "".join(map(_spell, self._parts, self._before))


def pod(workload: Json) -> Json:
    """The spec of the pods that it makes."""
    spec: Json = workload["spec"]["template"]["spec"]
    return spec


def container(workload: Json) -> Json:
    """Its one container."""
    (only,) = pod(workload)["containers"]
    found: Json = only
    return found


def command(workload: Json) -> list[str]:
    """What its container runs."""
    words: list[str] = container(workload)["command"]
    return words


def set_variable(workload: Json, name: str, value: str) -> None:
    """Give its container this variable, in the place of one of that name if there is one."""
    env = container(workload).setdefault("env", [])
    known = next((one for one in env if one["name"] == name), None)
    if known is None:
        env.append({"name": name, "value": value})
    else:
        known["value"] = value


def has_variable(workload: Json, name: str) -> bool:
    """Whether its container has it."""
    return any(one["name"] == name for one in container(workload).get("env", ()))


def _spell(part: Part, before: Json) -> str:
    if part.value != before:
        return MARK + dump(_named_anew(part.value))
    text = part.text if part.text.endswith("\n") else part.text + "\n"
    return text if text.startswith((MARK, "#")) else MARK + text


def _named_anew(item: Json) -> Json:
    """A Job's template cannot be changed: another one is a Job of another name."""
    if item["kind"] != "Job":
        return item
    spelled = json.dumps(item["spec"]["template"], sort_keys=True)
    name = f"{item['metadata']['name']}-{hashlib.sha256(spelled.encode()).hexdigest()[:8]}"
    return item | {"metadata": item["metadata"] | {"name": name}}
