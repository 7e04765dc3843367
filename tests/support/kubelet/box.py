"""`python -m tests.support.kubelet.box FILE DESCRIPTOR`: become the container that the file describes.

The descriptor is closed at the moment when that has happened.
"""

import os
import socket
import sys
from pathlib import Path

import msgspec

from tests.support.roots import SYSTEM, bind, freeze, inside, make_root, show_python


class Mount(msgspec.Struct, frozen=True):
    """What a container sees, and where."""

    source: str
    target: str
    read_only: bool = False


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """A container, all questions answered."""

    root: str
    hosts: str
    hostname: str
    argv: list[str]
    env: dict[str, str]
    mounts: list[Mount]
    uid: int
    gid: int
    groups: list[int] = []
    capabilities: list[str] = []
    """Those that it may have, if its user is root."""
    frozen: bool = False
    """Its root directory is read-only."""
    escalates: bool = True
    folder: str = "/"

    @property
    def rights(self) -> list[str]:
        """The command that gives up all rights but its own, and runs what comes after it."""
        groups = f"--groups={','.join(map(str, self.groups))}" if self.groups else "--clear-groups"
        bound = "".join(f",+{name.lower()}" for name in self.capabilities)
        user = [f"--reuid={self.uid}", f"--regid={self.gid}", groups]
        privileges = [] if self.escalates else ["--no-new-privs"]
        return ["setpriv", *user, *privileges, f"--bounding-set=-all{bound}", "--inh-caps=-all"]


def become(box: Box) -> None:
    """Turn this process, alone in its namespaces of mounts and names, into the program; never returns."""
    root = Path(box.root)
    socket.sethostname(box.hostname)
    make_root(root, Path(box.hosts))
    inside(root, "/tmp").chmod(0o1777)
    for mount in sorted(box.mounts, key=lambda mount: len(mount.target)):
        if any(mount.target.startswith(f"{place}/") for place in SYSTEM):
            raise SystemExit(f"{mount.target}: nothing can be mounted there, it is this machine's")
        target, source = inside(root, mount.target), Path(mount.source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch() if source.is_file() else target.mkdir(exist_ok=True)
        bind(source, target, read_only=mount.read_only)
    show_python(root)
    if box.frozen:
        freeze(root)
    os.chroot(root)
    os.chdir(box.folder)
    os.execvpe("setpriv", [*box.rights, "--", *box.argv], box.env)


if __name__ == "__main__":
    os.set_inheritable(int(sys.argv[2]), False)
    become(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Box))
