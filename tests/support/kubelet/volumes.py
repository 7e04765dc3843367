"""A pod's volumes as folders, and what is in them: written at first, and anew when it changes.

Files lie as the kubelet lays them: `..data` leads to a folder of this moment's, each name to one in there, so
that all change at once.
"""

import os
import shutil
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.kubelet.objects import NotYetError, Pod
from tests.support.kubelet.values import Find, field
from tests.support.roots import memory

Token = Callable[[str, int], Awaitable[bytes]]
"""A token of the pod's account, for an audience (empty: the API) and so many seconds."""
Files = dict[str, tuple[bytes, int]]
"""Content and mode by path."""
_numbers = count(1)


class Volumes:
    """The volumes of one pod, below `folder`; claims lie in `claims`, and outlive it."""

    def __init__(self, pod: Pod, folder: Path, claims: Path, find: Find, token: Token) -> None:
        self._pod = pod
        self._folder = folder
        self._claims = claims
        self._find = find
        self._token = token
        self._tokens: dict[tuple[str, int], bytes] = {}
        self._written: dict[str, Files] = {}

    def path(self, name: str) -> Path:
        """Where the volume of this name is."""
        (volume,) = [one for one in self._pod.spec["volumes"] if one["name"] == name]
        if claim := volume.get("persistentVolumeClaim"):
            return self._claims / self._pod.metadata.namespace / str(claim["claimName"])
        return self._folder / name

    async def write(self, pod: Pod) -> None:
        """Make whatever is not there, and change what has changed; raises NotYetError."""
        self._pod = pod
        for volume in pod.spec.get("volumes", ()):
            name, place = volume["name"], self.path(volume["name"])
            if "emptyDir" in volume or "persistentVolumeClaim" in volume:
                self._empty(place, volume.get("emptyDir") or {})
            else:
                files = await self._files(volume)
                if self._written.get(name) != files:
                    _lay(place, files, self._owner(), self._group())
                    self._written[name] = files

    def remove(self) -> None:
        """Take everything away that goes with the pod."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _empty(self, place: Path, source: dict[str, Any]) -> None:
        if place.exists():
            return
        place.mkdir(parents=True)
        if source.get("medium") == "Memory":
            memory(place)
        place.chmod(0o777)
        if group := self._group():
            os.chown(place, -1, group)
            place.chmod(0o2777)

    async def _files(self, volume: dict[str, Any]) -> Files:
        if secret := volume.get("secret"):
            return self._kept("Secret", secret["secretName"], secret)
        if held := volume.get("configMap"):
            return self._kept("ConfigMap", held["name"], held)
        if told := volume.get("downwardAPI"):
            return self._told(told)
        if projected := volume.get("projected"):
            return await self._projected(projected)
        raise ValueError(f"volume {volume}: not known to this kubelet")

    async def _projected(self, projected: dict[str, Any]) -> Files:
        files: Files = {}
        for source in projected["sources"]:
            if token := source.get("serviceAccountToken"):
                seconds = int(token.get("expirationSeconds", 3600))
                text = await self._fresh(token.get("audience", ""), seconds)
                # As the kubelet does it: for its one reader, if there is one.
                mode = 0o600 if self._owner() or self._group() else 0o644
                files[token["path"]] = text, mode
            for word, kind in (("secret", "Secret"), ("configMap", "ConfigMap")):
                if held := source.get(word):
                    files |= self._kept(kind, held["name"], held)
            if told := source.get("downwardAPI"):
                files |= self._told(told)
        return files

    async def _fresh(self, audience: str, seconds: int) -> bytes:
        key = audience, seconds
        if key not in self._tokens:
            self._tokens[key] = await self._token(audience, seconds)
        return self._tokens[key]

    def _kept(self, kind: str, name: str, source: dict[str, Any]) -> Files:
        found = self._find(kind, self._pod.metadata.namespace, name)
        optional = source.get("optional", False)
        if found is None and not optional:
            raise NotYetError(f'MountVolume.SetUp failed: {kind.lower()} "{name}" not found')
        mode, found = source.get("defaultMode", 0o644), found or {}
        if not (items := source.get("items")):
            return {key: (content, mode) for key, content in found.items()}
        missing = [item["key"] for item in items if item["key"] not in found]
        if missing and not optional:
            raise NotYetError(f'MountVolume.SetUp failed: {kind.lower()} "{name}": no {missing}')
        return {
            item["path"]: (found[item["key"]], item.get("mode", mode))
            for item in items
            if item["key"] in found
        }

    def _told(self, source: dict[str, Any]) -> Files:
        mode = source.get("defaultMode", 0o644)
        return {
            item["path"]: (field(self._pod, item["fieldRef"]["fieldPath"], "").encode(), mode)
            for item in source["items"]
        }

    def _group(self) -> int:
        return int(self._pod.spec.get("securityContext", {}).get("fsGroup", 0))

    def _owner(self) -> int:
        """The one user of all containers; 0 if they are several, or nobody says."""
        everybody = self._pod.spec.get("securityContext", {}).get("runAsUser")
        containers = [*self._pod.spec.get("initContainers", ()), *self._pod.spec["containers"]]
        users = {c.get("securityContext", {}).get("runAsUser", everybody) for c in containers}
        return int(users.pop() or 0) if len(users) == 1 else 0


def _lay(place: Path, files: Files, owner: int, group: int) -> None:
    """Put the files into a folder of their own, and let the names lead there at once."""
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o755)
    fresh = place / f"..{next(_numbers)}"
    for name, (content, mode) in files.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode | (mode >> 3 & 0o040 if not group else 0o040))
        # A token's one reader owns it.
        os.chown(path, owner if mode == 0o600 else 0, group)
    fresh.mkdir(exist_ok=True)
    data, link = place / "..data", place / "..next"
    before = data.resolve() if data.is_symlink() else None
    link.symlink_to(fresh.name)
    link.replace(data)
    for name in {name.split("/")[0] for name in files}:
        if not (place / name).is_symlink():
            (place / name).symlink_to(f"..data/{name}")
    for path in place.iterdir():
        if path.name[:2] != ".." and not path.exists():
            path.unlink()
    if before:
        shutil.rmtree(before)
