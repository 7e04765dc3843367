"""`python -m services.injector`: the service as a program."""

from collections.abc import Callable

import anyio
import msgspec

from common import config, log
from common.bus import Bus
from common.contract import subjects
from common.errors import InvalidSettings
from common.kube.access import access
from common.kube.client import Client
from common.lifecycle import Stop, process_name, run
from common.trusting import Trusting, seed, trusting_file
from services.injector.annotations import PREFIX, said
from services.injector.app import NAME, Injector
from services.injector.keeper import Place
from services.injector.options import Mesh, Options
from services.injector.settings import Settings


async def main(stop: Stop) -> None:
    """Run until told to stop."""
    settings = config.load(Settings)
    log.setup(settings.log_level, settings.log_format)
    trusting = trusting_file(settings.trust_anchors_file)
    mesh = _mesh(settings, trusting)
    mesh()
    replica = settings.replica or process_name()
    bus = Bus(
        settings.bus,
        name=NAME,
        tls=trusting.context,
        nkey_seed=seed(settings.nkey_file),
        inbox_prefix=subjects.role_inbox(NAME),
    )
    async with bus, Client(access(settings.kubeconfig), agent="tulle-injector") as client:
        injector = Injector(
            bus, client, _place(settings), listen=settings.listen, mesh=mesh, replica=replica
        )
        async with (
            injector.admin(settings.admin_listen),
            anyio.create_task_group() as group,
        ):
            group.start_soon(injector.run)
            group.start_soon(trusting.run, bus, NAME, replica)
            await stop.wait()
            group.cancel_scope.cancel()


def _mesh(settings: Settings, trusting: Trusting) -> Callable[[], Mesh]:
    """What proxies are told; whom they trust may be another the next time. Raises InvalidSettings."""
    defaults = _defaults(settings)
    known = Mesh(
        bus=settings.proxy_bus or settings.bus,
        trust_anchors="",
        trust_domain=settings.trust_domain,
        cluster_domain=settings.cluster_domain,
        defaults=defaults,
    )
    return lambda: msgspec.structs.replace(known, trust_anchors=trusting.anchors())


def _defaults(settings: Settings) -> Options:
    try:
        given = msgspec.json.decode(settings.proxy_defaults or "{}", type=dict[str, str])
    except msgspec.DecodeError as error:
        raise InvalidSettings(f"TULLE_PROXY_DEFAULTS: {error}; expected a JSON object") from None
    if settings.proxy_image:
        given["proxy-image"] = settings.proxy_image
    found = said({PREFIX + name: text for name, text in given.items()}, {}, Options())
    if found.warnings:
        mistakes = [text.removeprefix(PREFIX) for text in found.warnings]
        raise InvalidSettings("\n".join(f"TULLE_PROXY_DEFAULTS: {text}" for text in mistakes))
    return found.options


def _place(settings: Settings) -> Place:
    service = f"{settings.service}.{settings.namespace}.svc"
    return Place(
        namespace=settings.namespace,
        secret=settings.secret,
        configuration=settings.webhook,
        hosts=(service, f"{service}.{settings.cluster_domain}"),
    )


if __name__ == "__main__":
    run(main)
