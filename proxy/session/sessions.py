"""The sessions that are open on one side of the proxy, so that they can be drained."""

from common.errors import MeshError
from proxy.session.host import Server


class Sessions:
    """Open server sessions."""

    def __init__(self) -> None:
        self._servers: set[Server] = set()
        self._draining = False

    def __len__(self) -> int:
        return len(self._servers)

    def add(self, server: Server) -> None:
        """One more; it is drained at once if the others were."""
        self._servers.add(server)
        if self._draining:
            server.drain()

    def discard(self, server: Server) -> None:
        """One less."""
        self._servers.discard(server)

    def drain(self) -> None:
        """Ask all of them, and those that come, to close when nothing is on its way."""
        self._draining = True
        for server in list(self._servers):
            server.drain()

    def drain_before(self, revision: int) -> None:
        """Ask those over mutual TLS that began under an older trust bundle to close in the same way."""
        for server in list(self._servers):
            if server.began_before(revision):
                server.drain()

    def cut_off(self, error: MeshError) -> None:
        """End all of them; what has no response yet gets this one."""
        for server in list(self._servers):
            server.cut_off(error)
