"""Taking stock in a rotation: who is there, how far everybody is, and whom it waits for since when."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

from common.clock import Clock
from common.contract.identity import TrustBundle, Waiting
from common.names import WorkloadName
from services.identity.presence import Presence
from services.identity.roster import Roster, Standing, Wanted

MOMENT_SECONDS = 0.5
"""NATS is not asked again before."""
_NAMED = 5
_ASKED = 20
"""Of so many it is asked at a time whether they are gone."""
Gone = Callable[[WorkloadName], Awaitable[bool]]
"""Whether a workload is known to be no more; False if that cannot be told."""


def waited(why: Mapping[str, str], before: Iterable[Waiting], now: float) -> tuple[Waiting, ...]:
    """Who is waited for and why, each since when they have been."""
    since = {one.name: one.since for one in before}
    return tuple(
        Waiting(name=name, why=reason, since=since.get(name, now)) for name, reason in why.items()
    )


class Stock:
    """What is known of everybody. Nothing is waited for before stock was taken."""

    def __init__(self, roster: Roster, presence: Presence, clock: Clock) -> None:
        self.roster = roster
        self._presence = presence
        self._clock = clock
        self._standing = Standing()
        self._asked = -MOMENT_SECONDS
        self.waiting: tuple[Waiting, ...] = ()
        """Who has not what is wanted."""

    @property
    def acknowledged(self) -> int:
        """How many have what is wanted."""
        return len(self._standing.current)

    async def look_around(self) -> frozenset[str]:
        """Ask NATS who is connected; returns who is there. Raises BusUnavailable."""
        if self._clock.monotonic() - self._asked >= MOMENT_SECONDS:
            self.roster.connect(await self._presence.names())
            self._asked = self._clock.monotonic()
        return self.roster.present()

    def take(self, members: Collection[str], bundle: TrustBundle, revision: int) -> None:
        """Compare everybody who is there, or is a member, with what was published."""
        names = {*members, *self.roster.present()} - self.roster.departed
        self._standing = self.roster.standing(names, Wanted.of(bundle, revision))
        self.waiting = waited(self._standing.waiting, self.waiting, self._clock.now())

    async def part(self, gone: Gone) -> bool:
        """Wait no more for workloads that are silent and known to be gone; True if there were any."""
        present = self.roster.present()
        silent = [name for name in self._standing.waiting if name not in present]
        workloads = [name for name in silent if not name.startswith("_/")]
        lost = [name for name in workloads[:_ASKED] if await gone(WorkloadName(*name.split("/")))]
        for name in lost:
            self.roster.depart(name)
        return bool(lost)

    def begin_anew(self) -> None:
        """Another phase: of what was known nothing counts."""
        self._standing, self.waiting = Standing(), ()

    def hindrance(self, left_behind: Collection[str]) -> str:
        """Whom it waits for, for how long and why, a few of them; empty if for nobody."""
        now = self._clock.now()
        waiting = [one for one in self.waiting if one.name not in left_behind]
        parts = [
            f"{one.name} ({one.why}; waited for {now - one.since:.0f} s)"
            for one in waiting[:_NAMED]
        ]
        more = [f"and {len(waiting) - _NAMED} more"] if len(waiting) > _NAMED else []
        return "; ".join(parts + more)
