"""`python -m demo.compose.bootstrap`: a mesh directory, and in each volume what its one reader needs of it.

Runs as root, without a network, before everything else; a second run changes no key. Only identity gets
the whole directory. A workload's token is made afresh with each run and is good for a day: by then its
proxy has a certificate, with which it comes back.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from common.clock import Clock, SystemClock
from common.errors import MeshError
from common.files import replace
from common.names import WorkloadName
from services.identity.bootstrap import bootstrap
from services.identity.directory import MeshDirectory
from services.identity.tokens import issue

MESH = Path("/mesh")
PARTS = Path("/parts")
NATS_STORE = Path("/var/lib/tulle")
DIRECTORY = Path(__file__).with_name("directory")
CONTROL_UID, PROXY_UID = 2103, 2102
TOKEN_SECONDS = 86_400.0

# Of the mesh directory, what each part holds; identity keeps it current.
SHARES = {
    "nats": ("nats/nats.conf", "nats/server.pem", "nats/server.key"),
    "destination": ("trust/anchor.pem", "keys/destination.seed"),
    "telemetry": ("trust/anchor.pem", "keys/telemetry.seed"),
    "operator": ("trust/anchor.pem", "keys/operator.seed", "bus.json"),
}


def lay_out(mesh_root: Path, parts: Path, *, clock: Clock | None = None) -> None:
    """Make the mesh directory and fill the parts; raises MeshError, OSError."""
    mesh = bootstrap(mesh_root, nats_hosts=("nats", "localhost", "127.0.0.1"), store_dir=NATS_STORE)
    for part, share in SHARES.items():
        for name in share:
            _copy(mesh.root / name, parts / part / name)
    now = (clock or SystemClock()).now()
    for workload, account in workloads():
        token = issue(
            mesh.read(mesh.tokens_key_file),
            workload,
            account,
            trust_domain=mesh.bus().trust_domain,
            lifetime=TOKEN_SECONDS,
            now=now,
        )
        _lay_beside(mesh, token, parts / workload.name)


def workloads() -> Iterator[tuple[WorkloadName, str]]:
    """Every workload that the directory names, with its service account."""
    for each in yaml.safe_load_all((DIRECTORY / "pods.yaml").read_text()):
        about = each["metadata"]
        yield WorkloadName(about["namespace"], about["name"]), each["spec"]["serviceAccountName"]


def own(root: Path, uid: int) -> None:
    """Give everything at and below `root` to a user, who alone may look."""
    root.chmod(0o700)
    for path in (root, *root.rglob("*")):
        os.chown(path, uid, uid, follow_symlinks=False)


def main() -> int:
    """Fill the volumes; 0, or 1 with what went wrong on standard error."""
    try:
        lay_out(MESH, PARTS)
        own(MESH, CONTROL_UID)
        for part in PARTS.iterdir():
            own(part, CONTROL_UID if part.name in SHARES else PROXY_UID)
    except (MeshError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _lay_beside(mesh: MeshDirectory, token: str, folder: Path) -> None:
    _copy(mesh.anchors_file, folder / "anchors.pem")
    replace(folder / "token", token.encode())


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    replace(target, source.read_bytes(), source.stat().st_mode & 0o777)


if __name__ == "__main__":
    sys.exit(main())
