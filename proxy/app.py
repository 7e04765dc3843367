"""The proxy as a whole: started from the ground up, stopped from the top down."""

import asyncio
import functools
import gc
import logging
import ssl
from pathlib import Path

import anyio

from common import config, log
from common.bus import Bus
from common.clock import SystemClock
from common.contract import subjects
from common.errors import InvalidName, InvalidSettings
from common.lifecycle import Stop
from proxy.admin import admin
from proxy.aging import Aging
from proxy.control.certify import Credentials
from proxy.control.discovery import Discovery
from proxy.control.kept import Kept
from proxy.control.notices import Notices
from proxy.control.policy import Policy
from proxy.control.report import Reporter
from proxy.drain import drain
from proxy.inbound.arrivals import Inbound
from proxy.observe.counters import Counters
from proxy.outbound.arrivals import Outbound
from proxy.session.backlog import TOTAL_LIMIT, Backlog
from proxy.session.errands import Errands
from proxy.settings import Settings
from proxy.transport import census
from proxy.transport.sweep import Sweep

logger = logging.getLogger(__name__)

_GC_THRESHOLD = 50_000
_LAST_WORDS_SECONDS = 0.5
"""A bus that is not there is not waited for."""


async def main(stop: Stop) -> None:
    """Run a proxy until it is told to stop."""
    settings = config.load(Settings)
    try:
        name, identity = settings.name, settings.identity
    except InvalidName as error:
        raise InvalidSettings(str(error)) from None
    log.setup(settings.log_level, settings.log_format)
    # For each side as many connections as it takes, each with another one behind it.
    census.claim_descriptors(4 * settings.max_connections + census.RESERVED)
    clock = SystemClock()
    credentials = Credentials(
        identity,
        name,
        state_dir=Path(settings.state_dir),
        anchors_file=Path(settings.trust_anchors_file),
        token_file=Path(settings.token_file) if settings.token_file else None,
        clock=clock,
    )
    kept = Kept(Path(settings.state_dir))
    bus = Bus(
        settings.bus,
        name=f"proxy {name}",
        tls=credentials.bus_context,
        token=credentials.bus_token,
        inbox_prefix=subjects.inbox(name),
        says_below=subjects.SAID,
        clock=clock,
    )
    counters = Counters()
    sweep = Sweep()
    async with bus, anyio.create_task_group() as group:
        notices = Notices(bus, name, clock)
        discovery = Discovery(
            bus,
            kept,
            clock,
            counters.lookup_unanswered,
            zone=settings.zone,
            tell=notices.tell,
        )
        policy = Policy(bus, kept, name, discovery.settings)
        if not settings.zone:
            policy.zone.on_change(discovery.move_to)
            discovery.move_to(policy.zone.value)

        def revisions() -> dict[str, int]:
            own = {
                policy.watch.subject: policy.watch.revision,
                subjects.trust().subject: credentials.trust_revision,
            }
            return discovery.revisions() | {subject: at for subject, at in own.items() if at}

        errands = Errands(group, counters.fault)
        reporter = Reporter(
            bus,
            settings,
            counters,
            discovery.settings,
            revisions,
            credentials.shown,
            clock,
        )
        outbound = Outbound(
            settings,
            group=errands,
            sweep=sweep,
            discovery=discovery,
            credentials=credentials.current,
            counters=counters,
            clock=clock,
        )
        inbound = Inbound(
            settings,
            group=errands,
            sweep=sweep,
            policy=policy,
            credentials=credentials.current,
            counters=counters,
            clock=clock,
            learned=reporter.learned,
        )

        aging = Aging(credentials.current, lambda: credentials.removed_at, clock, inbound, outbound)

        def is_ready() -> bool:
            held = credentials.current.value
            certified = held is not None and held.valid(clock.now())
            return certified and policy.known.value and not stop.requested

        def gauges() -> dict[str, float]:
            held = credentials.current.value
            return {
                "proxy_ready": is_ready(),
                "proxy_bus_connected": bus.connected.value,
                "proxy_buffered_bytes": census.buffered_bytes(),
                "proxy_buffered_limit_bytes": census.BUFFERED_LIMIT,
                "proxy_shed_connections_total": census.Shed.total,
                "proxy_http2_waiting_bytes": Backlog.total,
                "proxy_http2_waiting_limit_bytes": TOTAL_LIMIT,
                "proxy_tasks": len(asyncio.all_tasks()),
                "proxy_max_connections": settings.max_connections,
                "proxy_inbound_connections": inbound.open,
                "proxy_outbound_connections": outbound.open,
                "proxy_inbound_warm_connections": inbound.carrier.idle,
                "proxy_inbound_http2_sessions": inbound.carrier.sessions,
                "proxy_outbound_warm_connections": outbound.carrier.idle,
                "proxy_outbound_http2_sessions": outbound.carrier.sessions,
                "proxy_outbound_ejections_total": notices.ejections,
                "identity_cert_expiration_timestamp_seconds": held.not_after if held else 0.0,
                "process_start_time_seconds": reporter.started,
            }

        discovery.settings.on_change(lambda mesh: log.set_level(mesh.log_level))
        server = admin(settings.admin_listen, is_ready=is_ready, counters=counters, gauges=gauges)
        async with server:
            for task in (
                sweep.run,
                census.run,
                kept.run,
                discovery.run,
                notices.run,
                aging.run,
                reporter.run_reports,
                reporter.run_acks,
                reporter.run_reminders,
            ):
                group.start_soon(task)
            group.start_soon(credentials.run, bus)
            try:
                await outbound.start()
                await inbound.start()
            except OSError as error:
                raise InvalidSettings(f"cannot listen: {error}") from None
            logger.info(
                "started",
                extra=log.fields(workload=name, identity=identity, openssl=ssl.OPENSSL_VERSION),
            )
            group.start_soon(_announce, reporter, credentials, policy)
            gc.freeze()
            gc.set_threshold(_GC_THRESHOLD)
            await stop.wait()
            grace = settings.shutdown_grace_seconds
            announce = functools.partial(reporter.announce, "draining")
            await drain(grace, announce, sweep, inbound, outbound)
            kept.save()
            await reporter.report(final=True)
            with anyio.move_on_after(_LAST_WORDS_SECONDS):
                await reporter.announce("stopped")
        group.cancel_scope.cancel()


async def _announce(reporter: Reporter, credentials: Credentials, policy: Policy) -> None:
    await reporter.announce("started")
    await credentials.current.wait_for(lambda held: held is not None)
    await policy.known.wait_for(bool)
    await reporter.announce("ready")
    logger.info("ready")
