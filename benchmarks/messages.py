"""What the outer side tells the inner one: one JSON object on its standard input."""

from typing import Literal

import msgspec

from benchmarks.plan import Effort
from benchmarks.tools import Tools

Side = Literal["outbound", "inbound"]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Find out where one proxy of Tulle spends its time, under the load of one row."""

    side: Side
    row: str
    seconds: int


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: a run over `rows`, or a profile."""

    tools: Tools
    effort: Effort
    rows: tuple[str, ...] = ()
    profile: Profile | None = None
