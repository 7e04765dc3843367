"""What NATS reads gets to its servers by the kubelet, which brings a changed Secret into a pod when it likes.

So asking a server to read its files anew may be too early, for a minute and a half. What it has read it tells
by its tags (see layout), and until that is what the Secret holds it is asked again, now and then: each time,
whoever came in by the callout has to come in anew.
"""

from common.clock import Clock
from services.identity.cluster import layout
from services.identity.cluster.mirror import Mirror
from services.identity.presence import Presence
from services.identity.system import Server

RELOAD_SECONDS = 30.0
_MOST_NAMED = 5


class InPods:
    """The servers read the Secret `tulle-nats`, as the kubelet brings it."""

    def __init__(
        self, mirror: Mirror, presence: Presence, clock: Clock, every: float = RELOAD_SECONDS
    ) -> None:
        """`every` is for how many seconds a server is waited for before it is asked, and asked again."""
        self._mirror = mirror
        self._presence = presence
        self._clock = clock
        self._every = every
        self._tag = ""
        self._done = False
        self._asked: dict[str, float] = {}
        self._refused: dict[str, str] = {}

    async def deliver(self) -> str:
        """See Delivery."""
        await self._mirror.push()
        tag = layout.nats_tag(self._mirror.mesh)
        if tag != self._tag:
            self._tag, self._done, self._asked, self._refused = tag, False, {}, {}
        if self._done:
            return ""
        late, troubles = await self._presence.behind(lambda loaded: tag in (loaded.tags or ()))
        if due := [server for server in late if self._is_due(server)]:
            self._refused = await self._presence.reload(due)
            late, more = await self._presence.behind(lambda loaded: tag in (loaded.tags or ()))
            troubles += more
        if late:
            names = ", ".join(server.name for server in late[:_MOST_NAMED])
            troubles.append(f"NATS server {names}: has not read Secret {layout.NATS} as it is now")
            troubles += [why for name, why in self._refused.items() if name in names.split(", ")]
        self._done = not troubles
        return "; ".join(troubles)

    def _is_due(self, server: Server) -> bool:
        """Whether the kubelet has had its time, since the files changed or the server was asked."""
        now = self._clock.monotonic()
        if now - self._asked.setdefault(server.id, now) < self._every:
            return False
        self._asked[server.id] = now
        return True
