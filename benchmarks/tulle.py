"""Tulle as a user runs it: bus, identity, destination, telemetry, two proxies, netfilter rules, policy.

The client's connections are intercepted by the rules of `python -m proxy.redirect`, the workload admits
authenticated peers only, and reports go to telemetry as often as they do by default.
"""

from pathlib import Path

import msgspec
import yaml

from benchmarks import origin
from benchmarks.place import BUS_PORT, HOST, HTTP1_PORT, HTTP2_PORT, NETWORK, OPAQUE_PORT
from common.clock import SystemClock
from common.files import private_folder, replace
from common.names import DEFAULT_TRUST_DOMAIN
from demo import manifests
from demo.layout import Layout, Replica, lay_out
from demo.messages import Finishes, Program
from demo.namespaces import MARK
from demo.plan import Application, Port, Workload
from demo.programs import OUTBOUND_PORT, PYTHON, Paths, Programs
from services.identity.bootstrap import bootstrap
from services.identity.directory import MeshDirectory
from services.identity.tokens import issue

NAMESPACE = "bench"
CLIENT, ORIGIN = "client", "origin"
_TOKEN_SECONDS = 86_400.0
_POLICY = {"config.tulle.dev/default-inbound-policy": "all-authenticated"}
_APPLICATION = Application(
    namespace=NAMESPACE,
    workloads=(
        Workload(name=CLIENT, command=("cat",)),  # its programs are the load generators
        Workload(
            name=ORIGIN,
            command=("nginx",),
            ports=(HTTP1_PORT, HTTP2_PORT, Port(port=OPAQUE_PORT, protocol="tulle.dev/opaque")),
        ),
    ),
)


class Mesh:
    """The mesh in files, and the programs that make it run."""

    def __init__(self, root: Path, env: dict[str, str]) -> None:
        self._paths = Paths(root=root)
        self._env = env
        self.layout: Layout = lay_out(_APPLICATION, "explicit", NETWORK)
        self.directory: MeshDirectory = bootstrap(
            self._paths.mesh, nats_hosts=(HOST,), nats_port=BUS_PORT
        )
        self._manifests()
        self._admit()

    @property
    def service(self) -> str:
        """The address of the service, which exists nowhere."""
        return self.layout.services[0].address

    @property
    def addresses(self) -> tuple[str, ...]:
        """The workloads' addresses."""
        return tuple(replica.address for replica in self.layout.replicas)

    @property
    def origin(self) -> str:
        """The address of the workload that serves."""
        return self.layout.services[0].replicas[0].address

    @property
    def origin_folder(self) -> Path:
        """Where nginx's files are."""
        return self._paths.root / "origin"

    def stages(self) -> list[list[Program]]:
        """What has to run, in this order."""
        programs = Programs(
            self.layout, self._paths, self._env, BUS_PORT, DEFAULT_TRUST_DOMAIN
        ).stages()
        nginx = origin.write(self.origin_folder, self.origin)
        own: list[list[Program]] = [[self._redirect()]]
        for stage in programs[:-1]:
            own.append([self._adapted(program, nginx) for program in stage])
        return own

    def _adapted(self, program: Program, nginx: tuple[str, ...]) -> Program:
        if program.name == f"{ORIGIN}-1":
            return msgspec.structs.replace(program, argv=nginx)
        if not program.name.endswith("-proxy"):
            return program
        env = program.env | {"TULLE_MARK": str(MARK)}
        if program.name == f"{CLIENT}-1-proxy":
            env["TULLE_OUTBOUND_LISTEN"] = f"127.0.0.1:{OUTBOUND_PORT}"  # where netfilter sends it
        return msgspec.structs.replace(program, argv=(*PYTHON, "benchmarks.sidecar"), env=env)

    def _redirect(self) -> Program:
        ignored = ("--outbound-ports-to-ignore", str(BUS_PORT))
        argv = (*PYTHON, "proxy.redirect", "--proxy-mark", str(MARK), *ignored)
        return Program(name="redirect", argv=argv, env=self._env, ready=Finishes())

    def _manifests(self) -> None:
        self._paths.manifests.mkdir(parents=True)
        service = self.layout.services[0]
        documents = [self._pod(replica) for replica in self.layout.replicas]
        documents += [manifests.of(service), manifests.slice_of(service)]
        file = self._paths.manifests / "bench.yaml"
        file.write_text(yaml.safe_dump_all(documents, sort_keys=False))

    def _pod(self, replica: Replica) -> dict[str, object]:
        pod = manifests.pod(replica)
        pod["metadata"]["annotations"] = _POLICY
        return pod

    def _admit(self) -> None:
        key = self.directory.read(self.directory.tokens_key_file)
        for replica in self.layout.replicas:
            token = issue(
                key,
                replica.name,
                replica.identity.service_account,
                trust_domain=DEFAULT_TRUST_DOMAIN,
                lifetime=_TOKEN_SECONDS,
                now=SystemClock.now(),
            )
            private_folder(self._paths.token(replica).parent)
            replace(self._paths.token(replica), token.encode())
            private_folder(self._paths.state(replica))
