"""The services as they run: which answer, in which version, who leads, and what their clocks say."""

from cli import running
from cli.checks.context import Context
from cli.checks.frame import Check, Doubtful, Group, Wrong, named
from cli.checks.lives import agree
from common.version import VERSION


async def _answer(context: Context) -> str:
    """Who answers NATS's services framework; in a cluster all four services have to, elsewhere identity."""
    found = await context.services()
    there = {service.name for service in found}
    wanted = running.SERVICES if context.way.cluster else ("identity",)
    missing = [name for name in wanted if name not in there]
    if missing:
        raise Wrong(f"no answer from {named(missing, 4)}")
    return ", ".join(f"{service.name} {service.replicas}" for service in found)


async def _one_version(context: Context) -> str:
    """The versions of the services and of this command."""
    others = [
        f"{service.name} {service.version}"
        for service in await context.services()
        if service.version != VERSION
    ]
    if others:
        raise Doubtful(f"{named(others)}; this command is {VERSION}")
    return VERSION


async def _leases(context: Context) -> str:
    """Who leads identity, destination and injector: of the replicas of each, one writes."""
    there = {service.name for service in await context.services()}
    bus = await context.bus()
    held = {name: await running.holder(bus, name) for name in running.LEASED if name in there}
    free = [name for name, holder in held.items() if not holder]
    if free:
        raise Wrong(f"nobody leads {named(free)}")
    return ", ".join(f"{name}: {holder}" for name, holder in held.items())


async def _clocks(context: Context) -> str:
    """The time that identity tells with an answer, and this machine's."""
    found = await context.leaves()
    return agree("identity", found.time, context.clock.now())


SERVICES = Group(
    "services",
    (
        Check(
            "they answer",
            _answer,
            "is it running, and connected to the bus? Its log and its /ready tell",
            "services-answer",
        ),
        Check(
            "they run the version of this command",
            _one_version,
            "tulle version shows them; update what is older",
            "versions",
        ),
        Check(
            "each has one that leads",
            _leases,
            "leases change hands within ten seconds; then look at the log of whoever should",
            "leases",
        ),
        Check(
            "their clocks agree with this machine's",
            _clocks,
            "set the clocks by NTP: certificates and tokens go by them",
            "clocks",
        ),
    ),
)
