"""How a connection shows who it is, and how it knows the server."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Admission:
    """What a connection presents. Each callable is asked afresh for every connection."""

    tls: Callable[[], ssl.SSLContext] | None = None
    """What the server's certificate is checked against; without it the connection is in the clear."""
    token: Callable[[], str] | None = field(default=None, repr=False)
    nkey_seed: Callable[[], str] | None = field(default=None, repr=False)

    def options(self) -> dict[str, Any]:
        """The options of nats-py's `connect` that say all this. Asks for the TLS context and the seed now."""
        given: dict[str, Any] = {}
        if self.tls is not None:
            given["tls"] = self.tls()
        if self.token is not None:
            given["token"] = self.token
        if self.nkey_seed is not None:
            given["nkeys_seed_str"] = self.nkey_seed()
        return given
