"""The injector on a given bus and a given cluster: answers, and keeps the webhook trusted."""

import logging
import ssl
from collections.abc import Callable

import anyio

from common.admin import Admin, Answer, ready
from common.bus import Bus
from common.clock import Clock, SystemClock
from common.errors import InvalidCertificate
from common.kube.client import Client
from common.lease import Lease
from common.log import fields
from common.version import VERSION
from common.x509 import show
from services.injector.exposition import CONTENT_TYPE, exposition
from services.injector.journal import Journal
from services.injector.keeper import Keeper, Place
from services.injector.namespaces import Namespaces
from services.injector.options import Mesh
from services.injector.serving import Serving
from services.injector.webhook import Webhook

NAME = "injector"
log = logging.getLogger(__name__)


class Injector:
    """The service, for as long as `run` runs; the client is open all the while."""

    def __init__(
        self,
        bus: Bus,
        client: Client,
        place: Place,
        *,
        listen: str,
        mesh: Callable[[], Mesh],
        replica: str,
        clock: Clock | None = None,
    ) -> None:
        clock = clock or SystemClock()
        self._bus = bus
        self.namespaces = Namespaces(client)
        self.journal = Journal(bus, client, clock)
        self.keeper = Keeper(client, place, clock)
        self.lease = Lease(bus, NAME, replica)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_3
        self._shown = anyio.Event()
        self.webhook = Webhook(
            listen,
            self._tls,
            mesh=mesh,
            namespace=self.namespaces.annotations,
            heard=self._heard,
            note=self.journal.note,
        )
        self.serving = False

    def admin(self, listen: str) -> Admin:
        """The admin port: /live, /ready, /metrics."""
        routes = {"/ready": ready(lambda: self.serving), "/metrics": self._metrics}
        return Admin(listen, routes)

    async def run(self) -> None:
        """Serve for ever, from the first certificate on."""
        # It answers no questions, but who asks which services are there finds it.
        await self._bus.serve(NAME, VERSION, (), queue=NAME)
        async with anyio.create_task_group() as group:
            group.start_soon(self.journal.run)
            group.start_soon(self.namespaces.run)
            group.start_soon(self.lease.run, self.keeper.keep)
            group.start_soon(self.keeper.follow, self._show)
            await self._shown.wait()
            async with self.webhook:
                self.serving = True
                try:
                    await anyio.sleep_forever()
                finally:
                    self.serving = False

    def _show(self, serving: Serving) -> None:
        try:
            show(self._tls, serving.held)
        except InvalidCertificate as error:
            # The holder of the lease will see it as well, and write another.
            log.warning("certificate not shown", extra=fields(error=error))
        else:
            self._shown.set()

    def _heard(self) -> None:
        self.journal.requests += 1

    def _metrics(self) -> Answer:
        return 200, CONTENT_TYPE, exposition(self.journal)
