"""What destination says about this workload itself: its default policy, its opaque ports and its zone."""

from common.bus import Bus
from common.contract import subjects
from common.contract.discovery import DefaultPolicy, Settings, Workload
from common.latest import Latest
from common.names import WorkloadName
from proxy.control.kept import Kept
from proxy.control.watch import Watch


class Policy:
    """The workload's own document, as it is now."""

    def __init__(self, bus: Bus, kept: Kept, name: WorkloadName, mesh: Latest[Settings]) -> None:
        self._mesh = mesh
        self.known = Latest(False)
        """The document is there, fresh or kept: the proxy knows what it may let in."""
        self.zone = Latest("")
        """Where it runs; empty while that is not known."""
        self._last: Workload | None = None
        self.watch = Watch(bus, kept, subjects.workload(name), self._changed)
        self._changed()

    def default(self) -> DefaultPolicy:
        """The default policy in force. Nothing is let in before the document is known."""
        return "deny" if self._last is None else self._last.default_policy

    def is_opaque(self, port: int) -> bool:
        """Whether a port of the application is not to be looked into."""
        own = self._last is not None and port in self._last.opaque_ports
        return own or port in self._mesh.value.opaque_ports

    def _changed(self) -> None:
        # A workload that is still here while its document is gone is on its way out: what held, holds.
        self._last = self.watch.document or self._last
        self.known.set(self._last is not None)
        self.zone.set(self._last.zone if self._last is not None else "")
