"""Complaints, each kind made once until it clears: a bus that is down must not fill the disk with logs."""

import logging

from common.log import fields

_MOST_KINDS = 256


class Complaints:
    """Tells of the first of each kind of trouble and counts the rest."""

    def __init__(self, log: logging.Logger, most_kinds: int = _MOST_KINDS) -> None:
        self._log = log
        self._most_kinds = most_kinds
        self._repeats: dict[str, int] = {}

    def say(self, kind: str, message: str, **values: object) -> None:
        """Log `message` as a warning, unless this kind was complained of since it last cleared."""
        if kind in self._repeats:
            self._repeats[kind] += 1
            return
        if len(self._repeats) == self._most_kinds:
            message, values = "more kinds of trouble than are logged one by one", {}
        if len(self._repeats) <= self._most_kinds:
            self._repeats[kind] = 0
            self._log.warning(message, extra=fields(**values))

    def clear(self, kind: str, message: str, **values: object) -> None:
        """It is over: log `message` if it was complained of, and complain afresh the next time."""
        if kind in self._repeats:
            repeats = self._repeats.pop(kind)
            self._log.info(message, extra=fields(**values, repeated=repeats))

    def forget(self, prefix: str) -> None:
        """Complain afresh of every kind that begins so."""
        for kind in [kind for kind in self._repeats if kind.startswith(prefix)]:
            del self._repeats[kind]
