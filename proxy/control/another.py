"""When to ask for another leaf, because another anchor signs than the one that ours is below."""

from common.backoff import Backoff
from common.clock import Clock

_FIRST_SECONDS = 2.0
"""Within so many seconds everybody asks: soon, but not all at once."""
_MOST_SECONDS = 60.0
"""What comes may be below the wrong anchor still, as often as it is asked for: so the wait doubles."""


class Another:
    """Plans when to ask; `at`, in seconds since the epoch, is infinite while there is no need to."""

    def __init__(self, clock: Clock) -> None:
        self.at = float("inf")
        self._clock = clock
        self._backoff = Backoff(clock, first=_FIRST_SECONDS, most=_MOST_SECONDS, jitter=1.0)
        self._signing = ""

    def asked(self) -> None:
        """There is a new leaf, whose fitting is to be seen."""
        self.at = float("inf")

    def see(self, signing: str, *, fits: bool) -> bool:
        """The leaf fits the anchor `signing`, or not; says whether it was planned anew to ask."""
        if fits or signing != self._signing:
            self.at, self._signing = float("inf"), signing
            self._backoff.reset()
        if fits or self.at < float("inf"):
            return False
        self.at = self._clock.now() + self._backoff.next()
        return True
