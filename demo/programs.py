"""Every process that has to run, in stages: within a stage all start at once, ready ones let the next begin.

The bus and the interception come first, then who admits to the bus, then everybody who wants on it and the
programs that serve, and last the programs that serve nothing and only send: they find everything ready.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from common.nats_server import find_binary
from demo import abilities
from demo.layout import Layout, Replica
from demo.messages import Accepts, Answers, Finishes, Listens, Program, Readiness, Runs
from demo.namespaces import MARK

OUTBOUND_PORT, INBOUND_PORT, ADMIN_PORT = 4140, 4143, 4191
IDENTITY_ADMIN, DESTINATION_ADMIN, TELEMETRY_ADMIN = 9990, 9996, 9995
DRAIN_SECONDS = 2
PYTHON = (sys.executable, "-P", "-m")
"""How our own programs are started; -P: whatever lies in the user's folder is not imported."""


class Paths(msgspec.Struct, frozen=True, kw_only=True):
    """The demo's temporary directory."""

    root: Path

    @property
    def mesh(self) -> Path:
        """The mesh directory: what `tulle --mesh` takes."""
        return self.root / "mesh"

    @property
    def manifests(self) -> Path:
        """What destination follows."""
        return self.root / "manifests"

    @property
    def logs(self) -> Path:
        """A file per program."""
        return self.root / "logs"

    @property
    def hosts(self) -> Path:
        """The hosts file of the transparent demo."""
        return self.root / "hosts"

    def token(self, replica: Replica) -> Path:
        """A replica's join token."""
        return self.root / "tokens" / f"{replica.name.name}.jwt"

    def state(self, replica: Replica) -> Path:
        """Where a replica's proxy keeps its key and what it has learnt."""
        return self.root / "state" / replica.name.name


class Programs:
    """Makes the stages for one layout; `bus_port` is where nats-server listens."""

    def __init__(
        self, layout: Layout, paths: Paths, env: Mapping[str, str], bus_port: int, trust_domain: str
    ) -> None:
        self._layout = layout
        self._paths = paths
        self._env = clean(env)
        self._bus_port = bus_port
        self._trust_domain = trust_domain

    def stages(self) -> tuple[tuple[Program, ...], ...]:
        """All stages, in the order in which they are brought up."""
        replicas = self._layout.replicas
        meshed = [replica for replica in replicas if replica.workload.meshed]
        servers = [replica for replica in replicas if replica.workload.served]
        clients = [replica for replica in replicas if not replica.workload.served]
        return (
            (self._nats(), *map(self._redirect, meshed if self._layout.transparent else ())),
            (self._identity(),),
            (
                self._destination(),
                self._telemetry(),
                *map(self._proxy, meshed),
                *map(self._application, servers),
            ),
            tuple(map(self._application, clients)),
        )

    def _nats(self) -> Program:
        host = self._layout.control
        everywhere = "0.0.0.0" if self._layout.transparent else host
        argv = (str(find_binary()), "-c", str(self._paths.mesh / "nats" / "nats.conf"))
        listen = ("-a", everywhere, "-p", str(self._bus_port))
        return Program(
            name="nats-server",
            argv=argv + listen,
            env=self._env,
            ready=Accepts(host, self._bus_port),
        )

    def _identity(self) -> Program:
        more = {"TULLE_DIR": str(self._paths.mesh)}
        return self._service("identity", IDENTITY_ADMIN, more)

    def _destination(self) -> Program:
        more = {"TULLE_DIRECTORY": str(self._paths.manifests)}
        return self._service("destination", DESTINATION_ADMIN, more)

    def _telemetry(self) -> Program:
        return self._service("telemetry", TELEMETRY_ADMIN, {})

    def _service(self, name: str, port: int, more: dict[str, str]) -> Program:
        listen = f"{self._layout.control}:{port}"
        own = {
            "TULLE_NKEY_FILE": str(self._paths.mesh / "keys" / f"{name}.seed"),
            "TULLE_ADMIN_LISTEN": listen,
        }
        return self._ours(name, f"services.{name}", own | more, Answers(f"http://{listen}/ready"))

    def _proxy(self, replica: Replica) -> Program:
        address = replica.address
        transparent = self._layout.transparent
        any_address = "0.0.0.0" if transparent else address
        own = {
            "TULLE_NAMESPACE": replica.name.namespace,
            "TULLE_WORKLOAD": replica.name.name,
            "TULLE_UID": replica.uid,
            "TULLE_OWNER": replica.workload.name,
            "TULLE_SERVICE_ACCOUNT": replica.identity.service_account,
            "TULLE_TOKEN_FILE": str(self._paths.token(replica)),
            "TULLE_STATE_DIR": str(self._paths.state(replica)),
            "TULLE_OUTBOUND_LISTEN": f"{'127.0.0.1' if transparent else address}:{OUTBOUND_PORT}",
            "TULLE_INBOUND_LISTEN": f"{any_address}:{INBOUND_PORT}",
            "TULLE_ADMIN_LISTEN": f"{any_address}:{ADMIN_PORT}",
            "TULLE_MARK": str(MARK if transparent else 0),
            "TULLE_SHUTDOWN_GRACE_SECONDS": str(DRAIN_SECONDS),
        }
        ready = Answers(f"http://{address}:{ADMIN_PORT}/ready")
        name = f"{replica.name.name}-proxy"
        return self._ours(name, "proxy", own, ready, replica.name.name if transparent else "")

    def _redirect(self, replica: Replica) -> Program:
        name = replica.name.name
        # The mark is on the sockets that carry the application's traffic; the bus's are left alone by port.
        flags = ("--proxy-mark", str(MARK), "--outbound-ports-to-ignore", str(self._bus_port))
        argv = (*PYTHON, "proxy.redirect", *flags)
        return Program(
            name=f"{name}-redirect", argv=argv, env=self._env, ready=Finishes(), host=name
        )

    def _application(self, replica: Replica) -> Program:
        """The workload's own program, as the application file says."""
        workload = replica.workload
        ports = tuple(port.port for port in workload.served)
        told = {
            "python": sys.executable,
            "address": "0.0.0.0" if self._layout.transparent else replica.address,
            "port": str(ports[0]) if ports else "",
            "replica": str(replica.number),
        }
        env = {"HOST": told["address"], "PORT": told["port"], "REPLICA": told["replica"]}
        if not self._layout.transparent and workload.meshed:
            env["http_proxy"] = f"http://{replica.address}:{OUTBOUND_PORT}"
        env |= {name: _fill(value, told) for name, value in replica.env.items()}
        ready: Readiness = Listens(ports, replica.address) if ports else Runs()
        return Program(
            name=replica.name.name,
            argv=tuple(_fill(word, told) for word in workload.argv),
            env=self._env | env,
            ready=ready,
            host=replica.name.name if self._layout.transparent else "",
        )

    def _ours(
        self, name: str, module: str, own: dict[str, str], ready: Readiness, host: str = ""
    ) -> Program:
        common = {
            "TULLE_BUS": f"tls://{self._layout.control}:{self._bus_port}",
            "TULLE_TRUST_ANCHORS_FILE": str(self._paths.mesh / "trust" / "anchor.pem"),
            "TULLE_TRUST_DOMAIN": self._trust_domain,
        }
        env = self._env | common | own
        return Program(name=name, argv=(*PYTHON, module), env=env, ready=ready, host=host)


def clean(env: Mapping[str, str]) -> dict[str, str]:
    """The environment of every program: the user's, without other proxies and other meshes."""
    kept = {
        name: value
        for name, value in env.items()
        if not name.lower().endswith("_proxy") and not name.startswith("TULLE_")
    }
    path = abilities.search_path(env.get("PATH", ""))
    return kept | {"PATH": path, "PYTHONUNBUFFERED": "1"}


def _fill(text: str, told: Mapping[str, str]) -> str:
    for name, value in told.items():
        text = text.replace(f"{{{name}}}", value)
    return text
