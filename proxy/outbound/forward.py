"""The forward proxy that applications may name in `http_proxy`: where a request says that it goes.

RFC 9112 §3.2.2 (absolute-form) and RFC 9110 §9.3.6 (CONNECT). Names are those that the cluster's DNS
would know; what is no service of the mesh is looked up in the ordinary DNS and passed through.
"""

import asyncio
import socket
from collections.abc import Hashable

from common.contract.discovery import Endpoint
from common.names import ServiceName
from proxy.control.discovery import Backend, Discovery, Passthrough, Target
from proxy.decide.route import service_named, split_authority
from proxy.refusals import Loop, NoRoute
from proxy.transport.original_dst import Address

_REMEMBERED = 1024


class Forward:
    """Finds the target of requests to the forward proxy."""

    def __init__(
        self, discovery: Discovery, namespace: str, cluster_domain: str, own: frozenset[Address]
    ) -> None:
        self._discovery = discovery
        self._namespace = namespace
        self._cluster_domain = cluster_domain
        self._own = own
        self._foreign: dict[Hashable, Backend] = {}

    def lookup(self, authority: bytes, default_port: int) -> Backend | None:
        """The backend that `authority` means, if that is known at once."""
        split = split_authority(authority, default_port)
        name = split and service_named(split[0], self._namespace, self._cluster_domain)
        if not split or name is None:
            return None
        target = self._discovery.lookup_name(name, split[1])
        return target if isinstance(target, Backend) else None

    async def resolve(self, authority: bytes, default_port: int) -> Backend:
        """The backend that `authority` means; raises NoRoute, or Loop if that is this proxy."""
        split = split_authority(authority, default_port)
        if split is None:
            raise NoRoute(f"authority {authority!r}: expected HOST:PORT")
        host, port = split
        name = service_named(host, self._namespace, self._cluster_domain)
        target = await self._named(name, port) if name is not None else None
        if isinstance(target, Backend):
            return target
        address = await self._address(host, port)
        if (address, port) in self._own:
            raise Loop(f"{host}:{port} is this proxy")
        target = self._discovery.lookup(address, port)
        if target is None:
            target = await self._discovery.resolve(address, port)
        return self.outside(address, port) if isinstance(target, Passthrough) else target

    async def _named(self, name: ServiceName, port: int) -> Target:
        target = self._discovery.lookup_name(name, port)
        return await self._discovery.resolve_name(name, port) if target is None else target

    async def _address(self, host: str, port: int) -> str:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
        except OSError as error:
            raise NoRoute(f"{host}: {error.strerror or error}") from None
        except UnicodeError:
            # An empty label, or one that is too long (RFC 1035 §2.3.4).
            raise NoRoute(f"{host}: not a name that DNS can have") from None
        return str(found[0][4][0])

    def outside(self, address: str, port: int) -> Backend:
        """A backend of one endpoint that no mesh knows of."""
        backend = self._foreign.get((address, port))
        if backend is None:
            backend = Backend("", port, "detect", self._discovery.balancer())
            backend.balancer.update([(Endpoint(address=address, ports={}), port)])
            if len(self._foreign) >= _REMEMBERED:
                self._foreign.clear()
            self._foreign[address, port] = backend
        return backend
