"""What a pod says of itself, as the API wants it."""

from typing import Any

from tests.support.kubelet.container import Container, now
from tests.support.kubelet.network import NODE


class Status:
    """Composes a pod's status; remembers since when each condition holds."""

    def __init__(self) -> None:
        self._started = now()
        self._since: dict[str, tuple[str, str]] = {}

    def compose(
        self,
        phase: str,
        address: str,
        init: list[Container],
        main: list[Container],
        trouble: str,
    ) -> dict[str, Any]:
        """The whole status; `trouble` is why there are no containers yet."""
        initialized = all(c.started if _stays(c) else c.code == 0 for c in init)
        ready = initialized and all(c.ready for c in [*filter(_stays, init), *main])
        conditions = {
            "PodScheduled": True,
            "Initialized": initialized,
            "ContainersReady": ready,
            "Ready": ready,
        }
        status: dict[str, Any] = {
            "phase": phase,
            "hostIP": NODE,
            "hostIPs": [{"ip": NODE}],
            "startTime": self._started,
            "conditions": [self._condition(name, holds) for name, holds in conditions.items()],
            "initContainerStatuses": [_container(c, trouble) for c in init],
            "containerStatuses": [_container(c, trouble) for c in main],
        }
        return status | ({"podIP": address, "podIPs": [{"ip": address}]} if address else {})

    def _condition(self, name: str, holds: bool) -> dict[str, str]:
        word = "True" if holds else "False"
        before, since = self._since.get(name, ("", ""))
        if before != word:
            since = now()
            self._since[name] = word, since
        return {"type": name, "status": word, "lastTransitionTime": since}


def _stays(container: Container) -> bool:
    """True of all but init containers that end."""
    return container.spec.get("restartPolicy") == "Always"


def _container(container: Container, trouble: str) -> dict[str, Any]:
    state: dict[str, Any]
    if container.running:
        state = {"running": {"startedAt": container.began}}
    elif container.code is not None and not container.waiting:
        state = {"terminated": {"exitCode": container.code, "reason": _end(container.code)}}
    else:
        words = container.message or trouble
        reason = "ContainerCreating" if trouble else container.waiting
        state = {"waiting": {"reason": reason} | ({"message": words} if words else {})}
    return {
        "name": container.name,
        "image": container.spec["image"],
        "imageID": "",
        "ready": container.ready or container.code == 0,
        "started": container.started,
        "restartCount": container.restarts,
        "state": state,
    }


def _end(code: int) -> str:
    return "Error" if code else "Completed"
