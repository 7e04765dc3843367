"""Who the workload is: its key and leaf, whom it trusts, and how it shows itself to the bus.

The first time a join token opens the door; from then on a proof signed by the leaf's key does. A leaf is
renewed, with a new key, when 70 % of its life are over. What is held survives a restart in the state
directory: key and chain in one file, replaced in one step, so that they always belong together.
"""

import logging
import ssl
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from common.backoff import Backoff
from common.bus import Bus
from common.clock import Clock, SystemClock
from common.contract import subjects
from common.contract.events import ShownLeaf
from common.contract.identity import CertifyRequest, TrustBundle
from common.errors import (
    BusUnavailable,
    InvalidCertificate,
    InvalidMessage,
    InvalidSettings,
    InvalidToken,
    Refused,
)
from common.files import private_folder, replace
from common.latest import Latest
from common.log import fields
from common.names import Identity, WorkloadName
from common.x509 import (
    generate_key,
    load_certificates,
    load_der,
    load_key,
    moment,
    signing_request,
)
from proxy.control.another import Another
from proxy.control.held import Held as Held
from proxy.control.held import believing, hold
from proxy.control.trust import Trust

log = logging.getLogger(__name__)

LEAF_FILE = "leaf.pem"
RENEW_AT = 0.7
_RENEW_SPREAD = 0.03
"""A thousand proxies that were certified together do not come back together."""
_LOOK_SECONDS = 5.0
_CERTIFY_SECONDS = 10.0


class Credentials:
    """What a proxy holds to show who its workload is, kept current by `run`.

    Raises InvalidSettings if the state directory or the trust anchors cannot be used.
    """

    def __init__(
        self,
        identity: Identity,
        workload: WorkloadName,
        *,
        state_dir: Path,
        anchors_file: Path,
        token_file: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.current: Latest[Held | None] = Latest(None)
        self.renewals = 0
        """How often a certificate was issued to this process."""
        self._identity = identity
        self._workload = workload
        self._token_file = token_file
        self._clock = clock or SystemClock()
        self._backoff = Backoff(self._clock, first=0.5, most=30.0)
        self._renew_at = RENEW_AT
        self._another = Another(self._clock)
        self._wake = anyio.Event()
        self._doubted = False
        """The last proof has opened no door yet."""
        try:
            self._leaf_path = private_folder(state_dir) / LEAF_FILE
        except OSError as error:
            raise InvalidSettings(f"TULLE_STATE_DIR={state_dir}: {error.strerror}") from None
        self._trust = Trust(identity.trust_domain, state_dir, anchors_file)
        self._reload()

    @property
    def trust_revision(self) -> int:
        """The revision of the trust bundle in force; 0: what the proxy was started with."""
        return self._trust.revision

    def shown(self) -> ShownLeaf | None:
        """What may be told of the leaf; None without one."""
        held = self.current.value
        return held.shown if held else None

    @property
    def removed_at(self) -> int:
        """The trust bundle from which on an anchor is gone that was there before; 0: none is."""
        return self._trust.removed_at

    def bus_context(self) -> ssl.SSLContext:
        """What the bus is connected to with, now."""
        return self._trust.bus_context()

    def bus_token(self) -> str:
        """What shows the bus who we are, for one connection; raises InvalidToken if there is nothing.

        A proof by the leaf, or the join token, read afresh. A proof that opened no door is followed by
        the token, if there is one: the bus may be another mesh's since, or have forgotten our issuer.
        """
        held, now = self.current.value, self._clock.now()
        if held is None or not held.valid(now):
            return self._join_token()
        self._doubted = not self._doubted
        if not self._doubted:
            with suppress(InvalidToken):
                return self._join_token()
        return held.proof(now)

    async def run(self, bus: Bus) -> None:
        """Certify, renew in time, follow the trust bundle; until cancelled. Failures are told and retried."""
        unwatch = bus.connected.on_change(self._on_connected)
        follower = bus.follow(subjects.trust(), self._on_trust)
        try:
            while True:
                if (left := self._seconds_to_renewal()) > 0:
                    with anyio.move_on_after(min(left, _LOOK_SECONDS)):
                        await self._wake.wait()
                    self._wake = anyio.Event()
                    continue
                await bus.wait_connected()
                await self._renew(bus)
        finally:
            follower.close()
            unwatch()

    async def _renew(self, bus: Bus) -> None:
        try:
            await self._certify(bus)
        except (BusUnavailable, Refused, InvalidMessage, InvalidCertificate) as error:
            wait = self._backoff.next()
            held = self.current.value
            log.warning(
                "no new certificate",
                extra=fields(
                    reason=error.reason,
                    error=str(error),
                    again_in=f"{wait:.1f}s",
                    held_until=f"{held.not_after:.0f}" if held else "none",
                ),
            )
            await anyio.sleep(wait)
        else:
            self._backoff.reset()

    async def _certify(self, bus: Bus) -> None:
        """Have a new key signed, check what comes back, use it, and keep it."""
        key = generate_key()
        request = CertifyRequest(csr=signing_request(self._identity, self._workload, key))
        question = subjects.certify(self._identity, self._workload)
        reply = await bus.request(question, request, timeout=_CERTIFY_SECONDS)
        held = self._hold(key, [load_der(der) for der in reply.chain])
        self._renew_at = RENEW_AT + _RENEW_SPREAD * self._clock.random()
        self._another.asked()
        self.current.set(held)
        self._see_whether_it_fits(held)
        self.renewals += 1
        serial = f"{held.chain[0].serial_number:x}"
        lives = f"{held.not_after - self._clock.now():.0f}s"
        log.info("certified", extra=fields(identity=held.identity, serial=serial, lives=lives))
        try:
            # A disk may be slow, and traffic must not wait for it.
            await anyio.to_thread.run_sync(partial(replace, self._leaf_path, held.pem))
        except OSError as error:
            log.warning("certificate not kept", extra=fields(path=self._leaf_path, error=error))

    def _hold(self, key: ec.EllipticCurvePrivateKey, chain: Sequence[x509.Certificate]) -> Held:
        return hold(key, chain, self._identity, self._workload, self._trust, self._clock.now())

    def _reload(self) -> None:
        """Take up what was kept, if it still serves; what does not is named, and will be replaced."""
        try:
            pem = self._leaf_path.read_bytes()
            held = self._hold(load_key(pem), load_certificates(pem))
        except FileNotFoundError:
            return
        except (OSError, InvalidCertificate) as error:
            log.warning(
                "kept certificate not used: asking for a new one",
                extra=fields(path=self._leaf_path, error=error),
            )
        else:
            self.current.set(held)
            self._see_whether_it_fits(held)

    def _on_connected(self, connected: bool) -> None:
        if connected:
            self._doubted = False

    def _on_trust(self, bundle: TrustBundle | None, revision: int) -> None:
        if not self._trust.update(bundle, revision):
            return
        held = self.current.value
        if held is None:
            return
        self._see_whether_it_fits(held)
        try:
            self.current.set(self._hold(held.key, held.chain))
        except InvalidCertificate as error:
            # Peers that trust only the new anchors will refuse us: ask at once for another leaf. Whom we
            # let in does not wait for that.
            log.warning("certificate no longer trusted", extra=fields(error=error))
            self.current.set(believing(held, self._trust))
            self._renew_at = 0.0
            self._wake.set()

    def _see_whether_it_fits(self, held: Held) -> None:
        """Another anchor may sign now."""
        if self._another.see(self._trust.signing, fits=self._trust.fits(held.chain)):
            self._wake.set()

    def _seconds_to_renewal(self) -> float:
        held = self.current.value
        if held is None:
            return 0.0
        due = min(moment(held.chain[0], self._renew_at), self._another.at)
        return due - self._clock.now()

    def _join_token(self) -> str:
        if self._token_file is None:
            raise InvalidToken("no valid leaf and no join token; expected TULLE_TOKEN_FILE")
        try:
            token = self._token_file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidToken(f"TULLE_TOKEN_FILE={self._token_file}: {error}") from None
        if not token:
            raise InvalidToken(f"TULLE_TOKEN_FILE={self._token_file}: is empty")
        return token
