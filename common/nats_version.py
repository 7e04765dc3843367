"""Which nats-server will do: what Tulle relies on came with 2.12, and an older one fails in obscure ways.

Among it: a time to live for single messages, batched direct gets, and tombstones that run out.
"""

import re

from common.errors import InvalidSettings

OLDEST = (2, 12)
_VERSION = re.compile(r"v?(\d{1,9})\.(\d{1,9})\b")


def check(version: str) -> None:
    """Raise InvalidSettings, which says what is expected, unless a server of this version will do."""
    match = _VERSION.search(version)
    if match is None or (int(match[1]), int(match[2])) < OLDEST:
        told = match[0].lstrip("v") if match else repr(version[:64])
        raise InvalidSettings(
            f"nats-server {told}: too old for Tulle; expected {OLDEST[0]}.{OLDEST[1]} or later"
        )
