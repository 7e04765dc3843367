"""The cluster's network on one machine: a namespace for each pod, addresses of services, names of both.

Every pod's packets pass the node, which knows where services lead (as kube-proxy would write it). Names are
told by a hosts file for each pod's namespace (as DNS would answer), rewritten whenever something changes.
"""

import subprocess
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.kubelet.objects import Service, Slice

NODE = "10.77.0.1"
PODS = "10.244.0.0/16"
SERVICES = "10.96.0.0/16"
API = "10.96.0.1"
DOMAIN = "svc.cluster.local"


class Network:
    """Everything about addresses; `api_port` is where the API is on the node."""

    def __init__(self, folder: Path, api_port: int) -> None:
        self._folder = folder
        self._api_port = api_port
        self._numbers = count(1)
        self._services: list[Service] = []
        self._slices: list[Slice] = []

    def start(self) -> None:
        """Make the node's own part; it has a bridge already."""
        _run("ip", "-batch", "-", text=f"route add {PODS} dev bridge0\n"
             f"route add {SERVICES} dev bridge0\n")  # fmt: skip
        for name, value in (
            ("ip_forward", 1),
            ("conf/all/send_redirects", 0),
            ("conf/bridge0/send_redirects", 0),
        ):
            Path(f"/proc/sys/net/ipv4/{name}").write_text(str(value))
        self.update([], [])

    def add(self) -> tuple[str, str]:
        """A network namespace with its cable: its name, and its address."""
        number = next(self._numbers)
        name, address = f"pod{number}", f"10.244.{number // 250}.{number % 250 + 1}"
        _run("ip", "-batch", "-", text=f"netns add {name}\n"
             f"link add v{number} type veth peer name eth0 netns {name}\n"
             f"link set v{number} master bridge0 up\n")  # fmt: skip
        _run("ip", "-n", name, "-batch", "-", text=f"link set lo up\naddr add {address}/32 dev eth0\n"
             f"link set eth0 up\nroute add {NODE} dev eth0\nroute add default via {NODE}\n")  # fmt: skip
        return name, address

    def remove(self, name: str) -> None:
        """Take a namespace away."""
        _run("ip", "netns", "del", name)

    def hosts_file(self, namespace: str) -> Path:
        """The /etc/hosts of all pods in a namespace."""
        path = self._folder / f"hosts.{namespace}"
        if not path.exists():
            path.write_text(hosts(namespace, self._services, self._slices))
        return path

    def update(self, services: Iterable[Service], slices: Iterable[Slice]) -> None:
        """Let names and addresses lead to these endpoints from now on."""
        self._services, self._slices = list(services), list(slices)
        _run("iptables-restore", text=rules(self._services, self._slices, self._api_port))
        for path in self._folder.glob("hosts.*"):
            # In place: it is mounted in containers, which would not see another file of this name.
            with path.open("r+") as file:
                file.write(hosts(path.name.removeprefix("hosts."), self._services, self._slices))
                file.truncate()


def rules(services: list[Service], slices: list[Slice], api_port: int) -> str:
    """What iptables-restore(8) reads: each service's address leads to its endpoints, by chance."""
    lines = ["*nat", ":SERVICES - [0:0]"]
    lines += [f"-A {chain} -d {SERVICES} -j SERVICES" for chain in ("PREROUTING", "OUTPUT")]
    lines.append(_jump(API, 443, 1, f"{NODE}:{api_port}"))
    for service in services:
        address = str(service.spec.get("clusterIP", "None"))
        for port in service.spec.get("ports") or () if address.startswith("10.") else ():
            found = _targets(service, port.get("name", ""), slices)
            lines += [
                _jump(address, port["port"], len(found) - number, target)
                for number, target in enumerate(found)
            ]
    lines += ["COMMIT", "*filter"]
    # Nobody is there: say so at once, as kube-proxy does.
    refuse = f"-p tcp -d {SERVICES} -j REJECT --reject-with tcp-reset"
    lines += [f"-A {chain} {refuse}" for chain in ("FORWARD", "OUTPUT")]
    return "\n".join([*lines, "COMMIT", ""])


def hosts(namespace: str, services: list[Service], slices: list[Slice]) -> str:
    """The names of all services, as pods of a namespace may spell them."""
    lines = ["127.0.0.1 localhost", f"{API} kubernetes.default.{DOMAIN} kubernetes.default.svc"]
    for service in services:
        name, where = service.metadata.name, service.metadata.namespace
        names = [f"{name}.{where}.{DOMAIN}", f"{name}.{where}.svc", f"{name}.{where}"]
        names += [name] if where == namespace else []
        address = str(service.spec.get("clusterIP", "None"))
        if address != "None":
            lines.append(" ".join([address, *names]))
            continue
        for one in _endpoints(service, slices):
            own = [f"{one['hostname']}.{n}" for n in names] if one.get("hostname") else []
            lines.append(" ".join([one["addresses"][0], *names, *own]))
    return "\n".join([*lines, ""])


def _jump(address: str, port: int, of: int, target: str) -> str:
    chance = f" -m statistic --mode random --probability {1 / of:.6f}" if of > 1 else ""
    return (
        f"-A SERVICES -p tcp -d {address} --dport {port}{chance} -j DNAT --to-destination {target}"
    )


def _targets(service: Service, port: str, slices: list[Slice]) -> list[str]:
    return [
        f"{endpoint['addresses'][0]}:{found['port']}"
        for piece in _of(service, slices)
        for found in piece.ports or ()
        if found.get("name", "") == port
        for endpoint in piece.endpoints or ()
        if endpoint["conditions"].get("ready")
    ]


def _endpoints(service: Service, slices: list[Slice]) -> list[dict[str, Any]]:
    return [
        endpoint
        for piece in _of(service, slices)
        for endpoint in piece.endpoints or ()
        if endpoint["conditions"].get("ready")
    ]


def _of(service: Service, slices: list[Slice]) -> list[Slice]:
    name, where = service.metadata.name, service.metadata.namespace
    return [
        piece
        for piece in slices
        if piece.metadata.labels.get("kubernetes.io/service-name") == name
        and piece.metadata.namespace == where
        and piece.address_type == "IPv4"
    ]


def _run(*argv: str, text: str = "") -> None:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        raise OSError(f"{argv}: {done.stderr}\n{text}")
