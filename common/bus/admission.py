"""How a connection shows who it is, and to whom: never to a server that has not proven itself first."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client
from nats.errors import SecureConnRequiredError


@dataclass(frozen=True, slots=True)
class Admission:
    """What a connection presents. Each callable is asked afresh for every connection."""

    tls: Callable[[], ssl.SSLContext] | None = None
    """What the server's certificate is checked against; without it the connection is in the clear."""
    token: Callable[[], str] | None = field(default=None, repr=False)
    nkey_seed: str | None = field(default=None, repr=False)

    def options(self) -> dict[str, Any]:
        """The options of nats-py's `connect` that say all this. Asks for the TLS context now."""
        given: dict[str, Any] = {}
        if self.tls is not None:
            given["tls"] = self.tls()
        if self.token is not None:
            given["token"] = self.token
        if self.nkey_seed is not None:
            given["nkeys_seed_str"] = self.nkey_seed
        return given


class Guarded(Client):
    """A NATS client that, told to use TLS, says nothing to a server that does without.

    NATS begins in the clear and the server says whether TLS follows. nats-py believes it, so that
    whoever can answer in the server's place could ask for our token in the clear.
    """

    def __init__(self, demands_tls: bool) -> None:
        super().__init__()
        self._demands_tls = demands_tls
        self._secured = False

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """What nats-py takes when it begins a TLS handshake, and only then."""
        self._secured = True
        return super().ssl_context

    def _connect_command(self) -> bytes:
        if self._demands_tls and not self._secured:
            raise SecureConnRequiredError
        return super()._connect_command()
