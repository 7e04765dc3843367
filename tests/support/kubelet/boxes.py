"""A container's specification, and its pod's, as the box that a process becomes; and that process."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
from anyio.abc import Process

from tests.support.kubelet.box import Box, Mount
from tests.support.kubelet.objects import NotYetError, Pod
from tests.support.kubelet.values import expanded
from tests.support.roots import ROOT, SEARCH

# What `docker run` gives to root.
USUAL = (
    *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("NET_BIND_SERVICE", "NET_RAW", "SYS_CHROOT"),
)
IMAGES = {
    "tulle-control": (2103, ["tulle", "--help"]),
    "tulle-proxy": (2102, ["python", "-m", "proxy"]),
}
"""User and command of the Dockerfile's images; other images are root's and have no command."""


def boxed(
    pod: Pod,
    spec: dict[str, Any],
    folder: Path,
    hosts: Path,
    env: dict[str, str],
    volume: Callable[[str], Path],
) -> Box:
    """The box of a container; raises NotYetError if its pod's rules do not let it be."""
    context = (pod.spec.get("securityContext") or {}) | (spec.get("securityContext") or {})
    image = spec["image"].split("@")[0].rpartition("/")[2].split(":")[0]
    user, usual = IMAGES.get(image, (0, []))
    uid = int(context.get("runAsUser", user))
    if context.get("runAsNonRoot") and uid == 0:
        raise NotYetError("container has runAsNonRoot and image will run as root")
    path = {
        "PATH": SEARCH,
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    env = path | {"HOSTNAME": pod.metadata.name} | env
    argv = [*spec.get("command", []), *spec.get("args", [])]
    if not spec.get("command"):
        argv = argv or usual
    return Box(
        root=str(folder / spec["name"]),
        hosts=str(hosts),
        hostname=str(pod.spec.get("hostname", pod.metadata.name))[:63],
        argv=[expanded(word, env) for word in argv],
        env=env,
        mounts=[_mount(one, volume) for one in spec.get("volumeMounts") or ()],
        uid=uid,
        gid=int(context.get("runAsGroup", user if uid == user else 0)),
        groups=[int(context["fsGroup"])] if "fsGroup" in context else [],
        capabilities=_capabilities(context.get("capabilities") or {}),
        frozen=bool(context.get("readOnlyRootFilesystem")),
        escalates=bool(context.get("allowPrivilegeEscalation", True)),
        folder=spec.get("workingDir", "/"),
    )


async def spawn(box: Box, netns: str, log: Path) -> Process:
    """The process that is in the box by now, in this network namespace; what it says is appended to `log`."""
    become, become_by = os.pipe()
    me = [sys.executable, "-m", "tests.support.kubelet.box", str(_written(box)), str(become_by)]
    enter = ["nsenter", f"--net=/run/netns/{netns}", "--", "unshare", "--mount", "--uts"]
    try:
        with log.open("ab") as out:
            process = await anyio.open_process(
                [*enter, *me],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=ROOT,
                start_new_session=True,
                pass_fds=[become_by],
            )
        os.close(become_by)
        # It is closed when the program takes the box's place; until then hooks would run elsewhere.
        await anyio.wait_readable(become)
    finally:
        os.close(become)
    return process


def _written(box: Box) -> Path:
    file = Path(f"{box.root}.json")
    file.write_bytes(msgspec.json.encode(box))
    return file


def _mount(mount: dict[str, Any], volume: Callable[[str], Path]) -> Mount:
    source = volume(mount["name"]) / mount.get("subPath", "")
    return Mount(str(source), mount["mountPath"], bool(mount.get("readOnly")))


def _capabilities(wanted: dict[str, list[str]]) -> list[str]:
    kept: tuple[str, ...] = () if "ALL" in wanted.get("drop", ()) else USUAL
    return [*(name for name in kept if name not in wanted.get("drop", ())), *wanted.get("add", ())]
