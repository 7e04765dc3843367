"""docs/permissions.md: who may say and hear what on the bus, as the code has it."""

from collections.abc import Iterator, Mapping
from typing import get_args

from common.contract import subjects
from common.names import Identity, WorkloadName
from services.identity import accounts, permissions
from services.identity.callout import MOST_PAYLOAD, MOST_SUBSCRIPTIONS
from services.identity.permissions import MESH_API, ROLES, Permissions, PersonRole, of_role

HEAD = """# Who may say and hear what on the bus

*Written by `make docs` from `services/identity/permissions.py`; do not edit.*

What a connection may do follows from who it has shown to be, and nothing else; NATS refuses all that is not
listed. `SUBJECT GROUP` is for members of that queue group, `> >` is every group on every subject: whoever
joined a group of others would take their requests away. Placeholders as in [subjects.md](subjects.md). A
workload proves who it is with a token, then with its leaf ([0005](decisions/0005-admission-to-the-bus.md));
services and people sign with keys of their own ([0012](decisions/0012-sealed-callout-and-people.md)).
Each of them is in a NATS account with others of the same rights, into which their answers come and from which
passes what the last table lists and nothing else
([0020](decisions/0020-an-account-for-each-set-of-rights.md)). What a workload says it says below `{said}`,
where NATS brings no answer; others hear it without. People's accounts have no JetStream: what they ask of its
API goes to the mesh's (`{api}`, which is `nats --js-domain mesh`, and so without that as well).

**What NATS cannot say.** A subscription to `tulle.v1.discovery.address.*` is as good as one to each
address: NATS knows no permission for exact subjects only. Proxies follow the documents that they need, by
exact subject; one that was taken over can read all of discovery, which every workload may ask for piece by
piece anyway: addresses, ports and identities, no secret. It cannot read another workload's own document,
nor ask a stream for more than one subject at a time. NATS does not limit how many connections somebody has,
so identity admits each workload at a bounded rate; and it does not heed the limits in the JWT of a user
admitted by a callout, so those of the server hold for everybody: {payload} bytes a message, {subscriptions}
subscriptions, 16 MB pending, and a connection that takes nothing for ten seconds is closed. Nor does it
bound how fast somebody publishes: a proxy that was taken over can fill the stream of events with its own,
so that older ones of others are gone before their day is over. They were heard when they were said, and are
in the services' logs. What proxies say of their workloads is in a stream apart, where each can fill its own
place only.
"""

FAMILIES = (
    ("$JS.API.DIRECT.GET.", "reads what a stream holds"),
    (f"{MESH_API}STREAM.PURGE.", "empties a stream"),
    (f"{MESH_API}STREAM.DELETE.", "removes a stream; identity makes it anew"),
    (f"{MESH_API}STREAM.LEADER.", "moves a stream to another node"),
    (MESH_API, "looks at streams"),
    ("$JS.API.STREAM.CREATE.", "sees to it that the stream is there"),
    ("$JS.API.STREAM.UPDATE.", "and is configured as it should be"),
    ("$JS.API.", "looks at streams"),
    ("$JS.EVENT.", "what JetStream tells of itself"),
    (f"$KV.{subjects.LEASES}.", "who of several replicas acts"),
    (f"$KV.{subjects.TOKENS}.", "which join tokens were used"),
    ("$SRV.", "which services are there"),
    ("_INBOX.", "answers"),
    ("_R_.", "answers to those of other accounts, by way of NATS"),
    ("$SYS._INBOX.", "answers to NATS: admitted or not"),
    ("$SYS.REQ.USER.AUTH", "NATS asks whether to admit somebody"),
    ("$SYS.REQ.SERVER.PING", "which servers are there"),
    ("$SYS.REQ.SERVER.*.CONNZ", "who is connected"),
    ("$SYS.REQ.SERVER.*.VARZ", "when a server read its files"),
    ("$SYS.REQ.SERVER.*.KICK", "ends a connection"),
    ("$SYS.REQ.SERVER.*.RELOAD", "has it read them again"),
    ("tulle.v1.tap_events.", "what a tap of a workload shows"),
    ("tulle.v1.tap.", "looks over a workload's shoulder"),
    ("tulle.v1.telemetry.", "questions about the recent past"),
    ("tulle.v1.discovery.", "where everything is"),
    ("tulle.v1.events.", "what happened"),
    ("tulle.v1.ack.", "which revisions are in force"),
    ("tulle.v1.mesh.", "trust and settings"),
    ("tulle.v1.>", "everything that is said"),
    ("put.v1.", "state, on its way into its stream"),
    (">", ""),
)
_PLACES = {"q1": "NAMESPACE", "q3": "WORKLOAD", "q4": "SERVICE-ACCOUNT", "q5": "NAME"}


def page(known: Mapping[str, str]) -> str:
    """The whole page; `known` says what travels on subjects, as docs/subjects.md spells them."""
    head = HEAD.format(
        payload=MOST_PAYLOAD,
        subscriptions=MOST_SUBSCRIPTIONS,
        said=f"{subjects.SAID}>",
        api=f"{MESH_API}>",
    )
    return head + "".join(_section(*who, known) for who in _everybody()) + _between()


def _everybody() -> Iterator[tuple[str, str, Permissions]]:
    workload = permissions.of_workload(Identity("q1", "q4"), WorkloadName("q1", "q3"))
    yield "A workload's proxy", "Its token, or its leaf's key, says which.", workload
    for role in ROLES:
        if role != "operator":
            yield f"The service `{role}`", f"`keys/{role}.seed`.", of_role(role)
    yield (
        "`identity`, to NATS itself",
        "`keys/system.seed`, in the system account.",
        permissions.of_system(),
    )
    for person in get_args(PersonRole):
        how = f"`tulle bus user NAME --role {person}`"
        if person == "operator":
            how += "; `keys/operator.seed` of the mesh directory may do the same"
        yield f"A person as {person}", f"{how}.", permissions.of_person("q5", person)


def _section(title: str, how: str, may: Permissions, known: Mapping[str, str]) -> str:
    rows = [("publish", _shown(one)) for one in may.publish]
    rows += [("subscribe", _shown(one)) for one in may.subscribe]
    rows += [("**never**", _shown(one)) for one in may.not_subscribe]
    lines = [f"| {what} | `{one}` | {_meaning(one, known)} |" for what, one in rows]
    return "\n".join(
        ["", f"## {title}", "", how, "", "| may | subject | |", "|---|---|---|", *lines, ""]
    )


def _between() -> str:
    """What passes from account to account; services are found in the same way by everybody who may."""
    guests: dict[tuple[str, str, str], list[str]] = {}
    for one in accounts.passing():
        if not one.subject.startswith("$SRV."):
            guests.setdefault((one.owner, one.kind, one.known_as), []).append(one.guest)
    what = {"service": "answers", "stream": "says"}
    lines = [
        f"| {owner} | {what[kind]} | `{subject}` | {', '.join(to)} |"
        for (owner, kind, subject), to in sorted(guests.items())
    ]
    title = "## What passes between accounts"
    table = ["| account | | subject | to |", "|---|---|---|---|", *lines, ""]
    return "\n".join(["", title, "", "And `$SRV.…`, from people to services.", "", *table])


def _shown(subject: str) -> str:
    for stand_in, place in _PLACES.items():
        subject = subject.replace(stand_in, place)
    return subject


def _meaning(shown: str, known: Mapping[str, str]) -> str:
    """What travels there: as the subject's own function says, or its family."""
    subject, _, group = shown.removeprefix(subjects.SAID).partition(" ")
    if group == ">":
        return "in a group"
    for spelled, doc in known.items():
        if _alike(spelled, subject.replace("put.", "tulle.", 1)):
            return doc.partition("; ")[0].rstrip(".")
    return next(words for begin, words in FAMILIES if subject.startswith(begin) or begin == ">")


def _alike(spelled: str, asked: str) -> bool:
    mine, theirs = spelled.split("."), asked.split(".")
    return len(mine) == len(theirs) and all(
        one == other or one.isupper() for one, other in zip(mine, theirs, strict=True)
    )
