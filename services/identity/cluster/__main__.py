"""`python -m services.identity.cluster bootstrap`: makes the mesh's Secrets in a cluster, if they are absent.

It ends with 0 when everything is there, with 2 when somebody has to decide something, which it says, and with 1
when it is worth another try.
"""

import argparse
import sys
from collections.abc import Sequence

import anyio

from common.clock import SystemClock
from common.config import environment
from common.errors import InvalidName, InvalidSettings, KubernetesRefused
from common.kube.access import Access, access
from common.kube.client import FORBIDDEN, Client
from common.kube.stored import Shelf
from common.names import DEFAULT_TRUST_DOMAIN, check_label
from services.identity.cluster.bootstrap import Wanted, bootstrap


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, and do it."""
    given = _parser().parse_args(arguments)
    wanted = Wanted(
        namespace=given.namespace,
        trust_domain=given.trust_domain,
        cluster_domain=given.cluster_domain,
        nodes=given.nodes,
        join_tokens=given.join_tokens,
    )
    try:
        check_label(wanted.namespace, "namespace")
        anyio.run(_run, access(given.kubeconfig), wanted)
    except (InvalidName, InvalidSettings) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KubernetesRefused as error:
        hint = "; its account lacks that right" if error.status == FORBIDDEN else ""
        sys.stderr.write(f"{error}{hint}\n")
        return 1
    sys.stdout.write(f"namespace {wanted.namespace}: the mesh is complete\n")
    return 0


async def _run(api: Access, wanted: Wanted) -> None:
    async with Client(api, agent="tulle-bootstrap") as client:
        await bootstrap(Shelf(client, wanted.namespace), wanted, _tell, SystemClock())


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    env = environment()
    parser = argparse.ArgumentParser(
        prog="python -m services.identity.cluster",
        description="The mesh's keys and certificates in a Kubernetes cluster.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    make = commands.add_parser(
        "bootstrap",
        help="make the Secrets and the ConfigMap of a mesh, those that are absent",
        description="Make the Secrets and the ConfigMap of a mesh, those that are absent."
        " What is there is never changed.",
    )
    make.add_argument("--namespace", default=env.get("TULLE_NAMESPACE") or "tulle")
    make.add_argument(
        "--trust-domain", default=env.get("TULLE_TRUST_DOMAIN") or DEFAULT_TRUST_DOMAIN
    )
    make.add_argument(
        "--cluster-domain", default=env.get("TULLE_CLUSTER_DOMAIN") or "cluster.local"
    )
    make.add_argument("--nodes", type=int, choices=(1, 3), default=1, help="servers of NATS")
    make.add_argument(
        "--join-tokens", action="store_true", help="with a key for workloads that are no pods"
    )
    make.add_argument(
        "--kubeconfig",
        default=env.get("TULLE_KUBECONFIG", ""),
        help="if not given, the pod's own account is used",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
