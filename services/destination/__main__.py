"""`python -m services.destination`: the service as a program."""

from functools import partial
from pathlib import Path

import anyio

from common import config, log
from common.bus import Bus
from common.contract import subjects
from common.errors import InvalidName, InvalidSettings
from common.kube.access import access
from common.kube.client import Client
from common.lifecycle import Stop, process_name, run
from common.names import check_subdomain
from common.trusting import seed, trusting_file
from services.destination.app import Destination
from services.destination.settings import Settings
from services.destination.sources.directory import Directory
from services.destination.sources.kubernetes import Kubernetes
from services.destination.sources.standing import Opener


async def main(stop: Stop) -> None:
    """Run until told to stop."""
    settings = config.load(Settings)
    try:
        check_subdomain(settings.trust_domain, "trust domain")
    except InvalidName as error:
        raise InvalidSettings(f"TULLE_TRUST_DOMAIN: {error}") from None
    log.setup(settings.log_level, settings.log_format)
    opener = _opener(settings)

    trusting = trusting_file(settings.trust_anchors_file)
    replica = settings.replica or process_name()
    async with Bus(
        settings.bus,
        name="destination",
        tls=trusting.context,
        nkey_seed=seed(settings.nkey_file),
        inbox_prefix=subjects.role_inbox("destination"),
    ) as bus:
        destination = Destination(
            bus,
            opener,
            replica=replica,
            trust_domain=settings.trust_domain,
        )
        async with (
            destination.admin(settings.admin_listen),
            anyio.create_task_group() as group,
        ):
            group.start_soon(destination.run)
            group.start_soon(trusting.run, bus, "destination", replica)
            await stop.wait()
            group.cancel_scope.cancel()


def _opener(settings: Settings) -> Opener:
    """What opens the source that the settings name; raises InvalidSettings."""
    if settings.source == "kubernetes":
        client = Client(access(settings.kubeconfig), agent="tulle-destination")
        return partial(Kubernetes, client)
    if not settings.directory:
        raise InvalidSettings(
            "TULLE_DIRECTORY: not set; expected a path, as TULLE_SOURCE is directory"
        )
    return partial(Directory, Path(settings.directory), interval=settings.poll_seconds)


if __name__ == "__main__":
    run(main)
