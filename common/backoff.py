"""How long to wait before trying again."""

from common.clock import Clock


class Backoff:
    """Waits that double from `first` to `most` seconds, each shortened by up to `jitter` of itself.

    Jitter keeps a thousand clients that lost the same server from coming back in the same instant.
    """

    def __init__(
        self, clock: Clock, first: float = 0.1, most: float = 10.0, jitter: float = 0.5
    ) -> None:
        self._clock = clock
        self._first = first
        self._most = most
        self._jitter = jitter
        self._next = first

    def next(self) -> float:
        """Seconds to wait now; the following wait is twice as long."""
        wait, self._next = self._next, min(self._next * 2, self._most)
        return wait * (1 - self._jitter * self._clock.random())

    def reset(self) -> None:
        """It worked: start from the beginning next time."""
        self._next = self._first
