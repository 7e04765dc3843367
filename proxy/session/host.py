"""Who has connections served: what a server session, of either version, asks of its surroundings."""

from typing import Protocol as Shape

from common.errors import MeshError
from proxy.codec.heads import BadMessage
from proxy.session.exchange import Exchange


class Server(Shape):
    """A session that serves one client connection."""

    def drain(self) -> None:
        """Finish what is on its way, and take nothing new."""
        ...

    def began_before(self, revision: int) -> bool:
        """Whether its connection is one of mutual TLS that began under an older trust bundle."""
        ...

    def cut_off(self, error: MeshError) -> None:
        """End now; what has no response yet gets this one."""
        ...


class Host(Shape):
    """Who has a connection served."""

    def serve(self, exchange: Exchange) -> None:
        """Carry out a request."""
        ...

    def rejected(self, error: BadMessage) -> None:
        """A client sent what is not HTTP, and was told so."""
        ...

    def closed(self, server: Server, *, detached: bool) -> None:
        """The session is over; `detached`: its connection goes on as a tunnel."""
        ...

    def tunnel_closed(self) -> None:
        """That tunnel is over, too."""
        ...
