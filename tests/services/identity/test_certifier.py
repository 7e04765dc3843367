"""The certifier: every certificate and every refusal is an event that says whose it is, and why."""

from collections.abc import AsyncIterator

import pytest

from common.clock import ManualClock
from common.contract import subjects
from common.contract.events import Event
from common.contract.identity import CertifyReply, CertifyRequest
from common.errors import InvalidName, Refused
from common.names import Identity, WorkloadName
from common.x509 import generate_key, holder, load_der, signing_request
from services.identity.authority import Authority
from services.identity.certifier import Certifier
from services.identity.journal import Journal
from tests.support.nats import mesh, until
from tests.support.pki import Pki

pytestmark = pytest.mark.anyio

PKI = Pki(1_700_000_000.0)
WEB = Identity("shop", "web")
BOOKS = Identity("shop", "books")


class Asked:
    """A certifier, its clock, and what it tells."""

    def __init__(self, certifier: Certifier, clock: ManualClock) -> None:
        self.clock = clock
        self.events: list[Event] = []
        self._certifier = certifier

    async def by(self, name: str, asked: Identity = WEB, identity: Identity = WEB) -> CertifyReply:
        """A workload of `identity` asks for a certificate of `asked`."""
        workload = WorkloadName("shop", name)
        csr = signing_request(asked, workload, generate_key())
        subject = subjects.certify(identity, workload).subject
        return await self._certifier(subject, CertifyRequest(csr=csr))

    async def event(self, what: str) -> Event:
        """The one thing of that kind that was told since the last time."""
        await until(lambda: [event for event in self.events if event.what == what])
        (found,) = [event for event in self.events if event.what == what]
        self.events.clear()
        return found


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    async with mesh() as (_, bus):
        clock = ManualClock(PKI.now)
        authority = Authority(PKI.issuer)
        certifier = Certifier(lambda: authority, "cluster.local", Journal(bus, clock), clock)
        told = Asked(certifier, clock)
        for what in ("issued", "refused"):
            topic = subjects.event("identity", what)
            await bus.listen(topic, lambda _, event: told.events.append(event))
        yield told


async def test_a_certificate_is_an_event_with_serial_identity_and_end(asked: Asked) -> None:
    reply = await asked.by("web-1")

    leaf = load_der(reply.chain[0])
    assert holder(leaf) == (WEB, WorkloadName("shop", "web-1"))
    event = await asked.event("issued")
    assert event.fields == {
        "workload": "shop/web-1",
        "identity": WEB.uri,
        "serial": f"{leaf.serial_number:x}",
        "not_after": f"{leaf.not_valid_after_utc.timestamp():.0f}",
        "seconds": "86400",
    }
    assert reply.not_after == leaf.not_valid_after_utc.timestamp()


async def test_a_refusal_is_an_event_with_the_reason(asked: Asked) -> None:
    with pytest.raises(Refused, match="request name"):
        await asked.by("web-1", asked=BOOKS)

    event = await asked.event("refused")
    assert event.fields["reason"] == "invalid-certificate"
    assert (event.fields["workload"], event.fields["identity"]) == ("shop/web-1", WEB.uri)
    assert BOOKS.uri in event.message


async def test_whoever_asks_too_often_waits_and_nobody_else_does(asked: Asked) -> None:
    for _ in range(20):
        await asked.by("web-1")
    with pytest.raises(Refused, match="too many"):
        await asked.by("web-1")

    event = await asked.event("refused")
    assert (event.fields["workload"], event.fields["reason"]) == ("shop/web-1", "refused")
    # Another replica with the same identity has a share of its own.
    await asked.by("web-2")
    asked.clock.advance(1.1)
    await asked.by("web-1")


async def test_a_subject_that_names_nobody_is_refused(asked: Asked) -> None:
    for subject in ("tulle.v1.identity.certify.shop.web", "tulle.v1.identity.certify.A.web.w"):
        with pytest.raises(InvalidName):
            await asked._certifier(subject, CertifyRequest(csr=b""))
