"""Everybody who may be on the bus, taken over, tries every family of subjects in both directions.

Each row says by letters who may: w a workload's proxy, i identity, d destination, j injector, t telemetry,
o operator, r reader. Whoever is not named is refused by the server. The table is written by hand, so that
a change of the permissions is a change here.
"""

from collections.abc import AsyncIterator

import pytest

from common.contract.subjects import EVERYTHING
from common.names import WorkloadName
from services.identity.permissions import CALLOUT
from tests.support import hostile
from tests.support.hostile import Intruder
from tests.support.identity import Mesh
from tests.support.nats import until

pytestmark = pytest.mark.anyio

SERVICES = "idjt"
ALL = "wor" + SERVICES
LETTERS = {"i": "identity", "d": "destination", "j": "injector", "t": "telemetry", "o": "operator"}

# subject: who may publish, who may subscribe
TABLE = {
    # what a proxy says, of itself and of others
    "tulle.v1.metrics.shop.web-1": ("", "tor"),
    "$JS.ACK.tulle.v1.metrics.shop.web-1": ("w", ""),
    "tulle.v1.metrics.shop.books": ("", "tor"),
    "tulle.v1.ack.shop.web-1": ("", "idor"),
    "$JS.ACK.tulle.v1.ack.shop.web-1": ("w", ""),
    "tulle.v1.ack.shop.books": ("", "idor"),
    "tulle.v1.ack._.telemetry": ("t", "idor"),
    "tulle.v1.ack._.identity": ("i", "idor"),
    "tulle.v1.lifecycle.shop.web-1.draining": ("", "idtor"),
    "$JS.ACK.tulle.v1.lifecycle.shop.web-1.draining": ("w", ""),
    "tulle.v1.lifecycle.shop.books.draining": ("", "idtor"),
    "tulle.v1.lifecycle.shop.web-1.gone": ("", "idtor"),
    "tulle.v1.learned.shop.web-1": ("", "dor"),
    "$JS.ACK.tulle.v1.learned.shop.web-1": ("w", ""),
    "tulle.v1.learned.shop.books": ("", "dor"),
    "tulle.v1.tap_events.shop.web-1": ("", "tor"),
    "$JS.ACK.tulle.v1.tap_events.shop.web-1": ("w", ""),
    "tulle.v1.tap_events.shop.books": ("", "tor"),
    "tulle.v1.tap.shop.web-1": ("to", "wor"),
    "tulle.v1.tap.shop.books": ("to", "or"),
    # what happened
    "tulle.v1.events.proxy.shop.web-1.ejected": ("", "tor"),
    "$JS.ACK.tulle.v1.events.proxy.shop.web-1.ejected": ("w", ""),
    "tulle.v1.events.proxy.shop.books.ejected": ("", "tor"),
    "tulle.v1.events.proxy.ejected": ("", "tor"),
    "tulle.v1.events.identity.issued": ("i", "tor"),
    "tulle.v1.events.destination.rejected": ("d", "tor"),
    "tulle.v1.events.injector.injected": ("j", "tor"),
    "tulle.v1.events.telemetry.said": ("t", "tor"),
    # certificates and trust
    "tulle.v1.identity.certify.shop.web.web-1": ("w", ""),
    "tulle.v1.identity.certify.shop.web.web-2": ("", ""),
    "tulle.v1.identity.certify.shop.books.web-1": ("", ""),
    "tulle.v1.identity.certify.shop.books.books": ("", ""),
    "tulle.v1.identity.trust.status": ("or", "or"),
    "tulle.v1.identity.trust.change": ("o", "or"),
    "tulle.v1.identity.keys.status": ("or", "or"),
    "tulle.v1.identity.keys.change": ("o", "or"),
    "put.v1.mesh.trust": ("i", ""),
    "put.v1.mesh.rotation": ("i", ""),
    "tulle.v1.mesh.trust": ("", ALL),
    # state: written under put, heard under tulle, and never the other way round
    "put.v1.mesh.settings": ("d", ""),
    "tulle.v1.mesh.settings": ("", ALL),
    "put.v1.discovery.address.10-0-0-1": ("d", ""),
    "put.v1.discovery.service.shop.web": ("d", ""),
    "put.v1.discovery.endpoints.shop.web.web-1": ("d", ""),
    "tulle.v1.discovery.address.10-0-0-1": ("", "wdor"),
    "tulle.v1.discovery.service.shop.web": ("", "wdor"),
    "tulle.v1.discovery.endpoints.shop.web.web-1": ("", "wdor"),
    "put.v1.workload.shop.web-1": ("d", ""),
    "tulle.v1.workload.shop.web-1": ("", "wdor"),
    "tulle.v1.workload.shop.books": ("", "dor"),
    # questions about the recent past: telemetry hears them with its replicas only
    "tulle.v1.telemetry.stat": ("or", "or"),
    # inboxes
    "_INBOX.shop.web-1.x.y": ("", "w"),
    "_INBOX.shop.books.x.y": ("", ""),
    "_INBOX._.identity.x.y": ("", "i"),
    "_INBOX._.telemetry.x.y": ("", "t"),
    "_INBOX._.operator.x.y": ("", "o"),
    "_INBOX._.person.ada.x.y": ("", "r"),
    "_INBOX.x.y": ("", ""),
    "_R_.x.y": (SERVICES, ""),
    # JetStream: what streams hold
    "$JS.API.DIRECT.GET.tulle_state.put.v1.discovery.address.10-0-0-1": ("wdor", ""),
    "$JS.API.DIRECT.GET.tulle_state.put.v1.mesh.trust": (ALL, ""),
    "$JS.API.DIRECT.GET.tulle_workloads.put.v1.workload.shop.web-1": ("wdor", ""),
    "$JS.API.DIRECT.GET.tulle_workloads.put.v1.workload.shop.books": ("dor", ""),
    "$JS.API.DIRECT.GET.tulle_state": ("dor", ""),
    "$JS.API.DIRECT.GET.tulle_events.tulle.v1.events.identity.issued": ("", ""),
    "$JS.API.DIRECT.GET.tulle_lifecycles": ("d", ""),
    "$JS.API.DIRECT.GET.KV_tulle_tokens.$KV.tulle_tokens.x": ("i", ""),
    "$JS.API.DIRECT.GET.KV_tulle_tokens": ("", ""),
    "$JS.API.STREAM.MSG.GET.tulle_state": ("or", ""),
    "$JS.API.STREAM.MSG.GET.KV_tulle_tokens": ("", ""),
    # JetStream: what streams are
    "$JS.API.INFO": ("or", ""),
    "$JS.API.STREAM.INFO.tulle_state": ("ior", ""),
    "$JS.API.STREAM.NAMES": ("or", ""),
    "$JS.API.STREAM.CREATE.tulle_state": ("i", ""),
    "$JS.API.STREAM.UPDATE.tulle_state": ("i", ""),
    "$JS.API.STREAM.CREATE.mine": ("", ""),
    "$JS.API.STREAM.UPDATE.KV_tulle_tokens": ("i", ""),
    "$JS.API.STREAM.DELETE.tulle_state": ("o", ""),
    "$JS.API.STREAM.PURGE.tulle_state": ("o", ""),
    "$JS.API.STREAM.DELETE.KV_tulle_tokens": ("", ""),
    "$JS.API.STREAM.PURGE.KV_tulle_tokens": ("", ""),
    "$JS.API.STREAM.MSG.DELETE.tulle_state": ("", ""),
    "$JS.API.STREAM.SNAPSHOT.tulle_state": ("", ""),
    "$JS.API.STREAM.RESTORE.tulle_state": ("", ""),
    "$JS.API.CONSUMER.CREATE.tulle_state": ("", ""),
    "$JS.API.CONSUMER.CREATE.tulle_events.mine.>": ("", ""),
    "$JS.API.CONSUMER.MSG.NEXT.tulle_state.mine": ("", ""),
    "$JS.API.META.LEADER.STEPDOWN": ("", ""),
    "$JS.API.SERVER.REMOVE": ("", ""),
    "$JS.API.ACCOUNT.PURGE.MESH": ("", ""),
    "$JS.mesh.API.STREAM.INFO.tulle_state": ("or", ""),
    "$JS.mesh.API.STREAM.DELETE.tulle_state": ("o", ""),
    "$JS.mesh.API.STREAM.CREATE.tulle_state": ("", ""),
    "$JS.ACK.tulle.v1.metrics.shop.books": ("", ""),
    "$JS.ACK.tulle.v1.mesh.trust": ("", ""),
    "$JS.ACK.tulle_state.mine.1.1.1.1.0": ("", ""),
    "$JS.EVENT.ADVISORY.API": ("", "o"),
    # leases and used tokens
    "$KV.tulle_leases.identity": ("i", ""),
    "$KV.tulle_leases.destination": ("d", ""),
    "$KV.tulle_leases.injector": ("j", ""),
    "$KV.tulle_tokens.x": ("i", ""),
    # the services framework
    "$SRV.PING": ("or", SERVICES),
    "$SRV.INFO.identity": ("or", "i"),
    "$SRV.INFO.telemetry": ("or", "t"),
    "$SRV.STATS.destination.x": ("or", "d"),
    # NATS itself
    CALLOUT: ("", ""),
    "$SYS._INBOX.x": ("i", ""),
    "$SYS.REQ.SERVER.PING": ("", ""),
    "$SYS.REQ.SERVER.x.KICK": ("", ""),
    "$SYS.REQ.ACCOUNT.MESH.CONNZ": ("", ""),
    "$SYS.REQ.USER.INFO": ("", ""),
    "$SYS.ACCOUNT.MESH.CONNECT": ("", ""),
    "$G.x": ("", ""),
    "x": ("", ""),
}
WILDCARDS = {
    # pattern: who may subscribe
    ">": "",
    "*": "",
    "*.*": "",
    "*.>": "",
    "tulle.>": "",
    "*.v1.>": "",
    EVERYTHING: "or",
    "tulle.v1.*.>": "or",
    "tulle.v1.*.*.*": "or",
    "tulle.v1.*.shop.web-1": "or",
    "tulle.v1.metrics.>": "or",
    "tulle.v1.metrics.*.*": "tor",
    "tulle.v1.discovery.>": "dor",
    # As good as one to each of them, all of which a workload may hear: see docs/permissions.md.
    "tulle.v1.discovery.address.*": "wdor",
    "tulle.v1.workload.>": "or",
    "tulle.v1.workload.*.*": "dor",
    "tulle.v1.workload.shop.*": "dor",
    "tulle.v1.identity.>": "or",
    "tulle.v1.identity.certify.>": "",
    "tulle.v1.identity.certify.*.*.*": "",
    "tulle.v1.identity.certify.shop.web.*": "",
    "tulle.v1.events.>": "tor",
    "tulle.v1.events.proxy.*.*.*": "tor",
    "tulle.v1.tap.>": "or",
    "tulle.v1.tap.shop.*": "or",
    "put.>": "",
    "put.v1.>": "",
    "_INBOX.>": "",
    "_INBOX.*": "",
    "_INBOX.*.*": "",
    "_INBOX.*.*.>": "",
    "_INBOX.shop.>": "",
    "_INBOX.shop.web-1.>": "w",
    "_INBOX._.>": "",
    "_INBOX._.*.>": "",
    "$JS.>": "",
    "$JS.API.>": "",
    "$JS.EVENT.>": "o",
    "$KV.>": "",
    "$SRV.>": "",
    "$SYS.>": "",
    "$JS.ACK.>": "",
    "_R_.>": "",
    "$SYS.REQ.>": "",
    "$SYS.REQ.*.AUTH": "",
}
GROUPS = {
    # subject and group: who may
    ("tulle.v1.identity.certify.*.*.*", "identity"): "i",
    ("tulle.v1.identity.certify.shop.web.web-1", "identity"): "i",
    ("tulle.v1.identity.certify.*.*.*", "thieves"): "",
    ("tulle.v1.identity.trust.change", "identity"): "i",
    ("tulle.v1.identity.keys.change", "identity"): "i",
    (CALLOUT, "identity"): "i",
    (CALLOUT, "thieves"): "",
    ("tulle.v1.telemetry.stat", "telemetry"): "t",
    ("tulle.v1.telemetry.stat", "thieves"): "",
    ("tulle.v1.>", "telemetry"): "",
    ("tulle.v1.>", "identity"): "",
    ("tulle.v1.metrics.*.*", "thieves"): "",
    ("tulle.v1.events.>", "thieves"): "",
    ("tulle.v1.events.>", "thieves.of.more.words"): "",
    ("tulle.v1.ack.*.*", "thieves"): "",
    ("tulle.v1.mesh.trust", "thieves"): "",
    ("tulle.v1.mesh.trust", "thieves.of.more.words"): "",
    ("tulle.v1.discovery.address.*", "thieves"): "",
    ("tulle.v1.tap.shop.web-1", "thieves"): "",
    ("tulle.v1.workload.shop.web-1", "thieves"): "",
    ("_INBOX.shop.web-1.>", "thieves"): "",
    ("_INBOX._.telemetry.>", "thieves"): "",
    ("$SRV.PING", "q"): "",
}


@pytest.fixture(scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with hostile.attacked(tmp_path_factory.mktemp("mesh")) as made:
        yield made


@pytest.fixture(scope="module", params=ALL)
async def intruder(
    request: pytest.FixtureRequest, mesh: Mesh
) -> AsyncIterator[tuple[str, Intruder]]:
    """Each of them in turn, with their letter."""
    letter = str(request.param)
    if letter == "w":
        made = await hostile.workload(mesh)
    elif letter == "r":
        made = await hostile.person(mesh, "ada", "reader")
    else:
        made = await hostile.role(mesh, LETTERS[letter])  # type: ignore[arg-type]
    yield letter, made
    await made.client.close()


async def test_nobody_says_what_is_not_theirs_to_say(intruder: tuple[str, Intruder]) -> None:
    letter, who = intruder
    may = [subject for subject in TABLE if await who.may_publish(subject)]

    assert may == [subject for subject, (say, _) in TABLE.items() if letter in say]


async def test_nobody_hears_what_is_not_theirs_to_hear(intruder: tuple[str, Intruder]) -> None:
    letter, who = intruder
    wanted = {subject: hear for subject, (_, hear) in TABLE.items()} | WILDCARDS
    may = [subject for subject in wanted if await who.may_subscribe(subject)]

    assert may == [subject for subject, hear in wanted.items() if letter in hear]


async def test_nobody_joins_a_group_of_others(intruder: tuple[str, Intruder]) -> None:
    letter, who = intruder
    may = [(subject, group) for subject, group in GROUPS if await who.may_subscribe(subject, group)]

    assert may == [place for place, joined in GROUPS.items() if letter in joined]


async def test_a_named_operator_may_do_what_the_mesh_s_own_may_and_has_an_inbox_of_their_own(
    mesh: Mesh,
) -> None:
    bob = await hostile.person(mesh, "bob", "operator")
    for subject, (say, hear) in TABLE.items():
        if not subject.startswith("_INBOX"):
            assert await bob.may_publish(subject) == ("o" in say), subject
            assert await bob.may_subscribe(subject) == ("o" in hear), subject

    assert await bob.may_subscribe("_INBOX._.person.bob.>")
    assert not await bob.may_subscribe("_INBOX._.person.ada.>")
    assert not await bob.may_subscribe("_INBOX._.operator.>")
    await bob.client.close()


SYSTEM = (
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.SERVER.PING.CONNZ",
    "$SYS.REQ.SERVER.x.CONNZ",
    "$SYS.REQ.SERVER.x.VARZ",
    "$SYS.REQ.SERVER.x.KICK",
    "$SYS.REQ.SERVER.x.RELOAD",
)
NOT_SYSTEM = (
    "$SYS.REQ.SERVER.x.LDM",
    "$SYS.REQ.SERVER.x.PROFILEZ",
    "$SYS.REQ.SERVER.PING.KICK.x",
    "$SYS.REQ.ACCOUNT.MESH.CONNZ",
    "$SYS.REQ.CLAIMS.UPDATE",
    "$SYS.REQ.USER.AUTH",
    "$SYS.REQ.ACCOUNT.MESH.CLAIMS.DELETE",
    "$JS.API.STREAM.DELETE.tulle_state",
    "put.v1.mesh.trust",
    "tulle.v1.events.identity.issued",
    "_INBOX._.identity.x.y",
)


async def test_identity_s_key_to_the_system_account_opens_little(mesh: Mesh) -> None:
    thief = await hostile.system(mesh)

    assert [s for s in (*SYSTEM, *NOT_SYSTEM) if await thief.may_publish(s)] == list(SYSTEM)
    for subject in (
        ">",
        "$SYS.>",
        "$SYS.ACCOUNT.>",
        "$SYS.SERVER.>",
        CALLOUT,
        EVERYTHING,
        "_INBOX.>",
    ):
        assert not await thief.may_subscribe(subject), subject
    assert await thief.may_subscribe("_INBOX._.identity.>")
    await thief.client.close()


async def test_whoever_hears_everything_hears_no_request_for_a_certificate(mesh: Mesh) -> None:
    reader = await hostile.person(mesh, "eve", "reader")
    other = await hostile.workload(mesh, WorkloadName("shop", "web-9"))
    heard: list[str] = []

    async def hear(message: object) -> None:
        heard.append(str(getattr(message, "subject", "")))

    for pattern in (EVERYTHING, "tulle.v1.*.certify.>", "tulle.v1.*.*.shop.web.*"):
        await reader.client.subscribe(pattern, cb=hear)
    assert await reader.refused() == []
    await other.client.publish("tulle.v1.identity.certify.shop.web.web-9", b"{}", reply="_INBOX.x")
    await other.client.publish("$JS.ACK.tulle.v1.learned.shop.web-9", b"{}")
    assert await other.refused() == []
    await until(lambda: "tulle.v1.learned.shop.web-9" in heard)

    assert not [subject for subject in heard if "certify" in subject]
    await reader.client.close()
    await other.client.close()
