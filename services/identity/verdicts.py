"""What was found out about a token a moment ago need not be found out again.

Whoever knocks again and again with the same token costs a digest, not a signature, and asks nobody else.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from common.errors import InvalidToken
from services.identity.attest import Attested

SECONDS = 5.0
"""How long a verdict holds."""
_MOST = 10_000

Judge = Callable[[str, str, float], Awaitable[Attested]]
"""Called with token, host and time; raises InvalidToken."""


class Verdicts:
    """Remembers what `judge` said of each token from each host. Proofs it hands on: each is good once.

    A judge that cannot tell (BusUnavailable) has said nothing. Of more than `most` verdicts the oldest are
    forgotten. No token is kept, only its digest.
    """

    def __init__(self, judge: Judge, most: int = _MOST) -> None:
        self._judge = judge
        self._most = most
        self._known: OrderedDict[bytes, tuple[float, Attested | str]] = OrderedDict()

    async def __call__(self, token: str, host: str, now: float) -> Attested:
        """Who the token shows its bearer to be; raises InvalidToken, or what the judge raises."""
        key = hashlib.sha256(f"{host}\n{token}".encode(errors="replace")).digest()
        known = self._known.get(key)
        if known is not None and abs(now - known[0]) < SECONDS:
            if isinstance(known[1], str):
                raise InvalidToken(known[1])
            return known[1]
        try:
            who = await self._judge(token, host, now)
        except InvalidToken as error:
            self._remember(key, now, str(error))
            raise
        if who.by != "proof":
            self._remember(key, now, who)
        return who

    def _remember(self, key: bytes, now: float, verdict: Attested | str) -> None:
        self._known[key] = now, verdict
        self._known.move_to_end(key)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
