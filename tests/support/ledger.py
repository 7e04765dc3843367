"""The ledger of join tokens in memory, for tests that need no bus."""

from services.identity.spent import Use


class Memory:
    """A Ledger of one process, for ever."""

    def __init__(self) -> None:
        self._uses: dict[str, Use] = {}

    async def first(self, token: str, use: Use, until: float) -> Use:
        """The first use of a token."""
        return self._uses.setdefault(token, use)
