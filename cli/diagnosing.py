"""How `tulle diagnostics` shows documents, and what a proxy acknowledges of them."""

import sys
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar

import click
import msgspec
from rich.text import Text

from cli import published
from cli.durations import about
from cli.mesh import named_mesh, operator_bus, run
from cli.output import console, json, note, printable, table
from cli.published import Document
from cli.running import ACK_SECONDS, acknowledged
from common.bus import Bus
from common.clock import SystemClock
from common.contract import subjects
from common.contract.discovery import Address, Endpoint, Service, Workload
from common.contract.events import Ack
from common.names import ServiceName, WorkloadName

T = TypeVar("T")
_ENDPOINT = ("NAMESPACE", "WORKLOAD", "ADDRESS", "PORTS", "READY", "PROXY", "IDENTITY", "ZONE")
_STYLES = {"in force": "green", "ahead": "green", "behind": "yellow", "not followed": "yellow"}
_PREFIX = "tulle.v1."
Cells = tuple[str | Text, ...]


def of_services(names: Sequence[ServiceName], proxy: WorkloadName | None, *, as_json: bool) -> int:
    """Show services with their endpoints; the exit status. Raises what operator_bus and Bus.get do."""

    async def ask(bus: Bus, ack: Ack | None) -> list[list[Document]]:
        return [await published.service(bus, name, ack) for name in names]

    found, ack = _asked(ask, proxy)
    if as_json:
        print(json([msgspec.to_builtins(one) for one in found]))
        return _status([one for of in found for one in of[:1]], proxy, ack)
    for number, documents in enumerate(found):
        if number:
            click.echo()
        _documents(documents)
        service = documents[0].message
        if isinstance(service, Service):
            click.echo(_described(service))
            _endpoints(documents)
    return _status([of[0] for of in found], proxy, ack)


def of_addresses(ips: Sequence[str], proxy: WorkloadName | None, *, as_json: bool) -> int:
    """Show what lives at addresses; the exit status. Raises the same."""

    async def ask(bus: Bus, ack: Ack | None) -> list[Document]:
        return [await published.read(bus, subjects.address(ip), ack) for ip in ips]

    found, ack = _asked(ask, proxy)
    if as_json:
        print(json([msgspec.to_builtins(one) for one in found]))
        return _status(found, proxy, ack)
    _documents(found)
    messages = [one.message for one in found if isinstance(one.message, Address)]
    for service in (message for message in messages if message.service):
        click.echo(printable(f"{service.address} is service {service.service}"))
    residents = [message.workload for message in messages if message.workload]
    if residents:
        console().print(table(_ENDPOINT, map(_endpoint, residents)))
    return _status(found, proxy, ack)


def of_workload(name: WorkloadName, *, as_json: bool) -> int:
    """Show what is said of a workload to its proxy; the exit status. Raises the same."""

    async def ask(bus: Bus, ack: Ack | None) -> Document:
        return await published.read(bus, subjects.workload(name), ack)

    document, ack = _asked(ask, name)
    if as_json:
        print(json(document))
        return _status([document], name, ack)
    _documents([document])
    message = document.message
    if isinstance(message, Workload):
        _pairs(
            {
                "identity": message.identity,
                "policy": message.default_policy,
                "opaque ports": ", ".join(map(str, message.opaque_ports)),
                "zone": message.zone,
                "uid": message.uid,
            }
        )
    return _status([document], name, ack)


def of_proxy(name: WorkloadName, *, as_json: bool) -> int:
    """Show everything that a proxy has in force; the exit status. Raises the same."""

    async def ask(bus: Bus, ack: Ack | None) -> list[Document]:
        return await published.followed(bus, name, ack) if ack else []

    documents, ack = _asked(ask, name)
    if ack is None:
        return _status([], name, ack)
    if as_json:
        print(json({"acknowledged": ack, "documents": documents}))
    else:
        _acknowledged(ack)
        _documents(documents)
    return 1 if any(one.standing in ("behind", "not followed") for one in documents) else 0


def _asked(
    ask: Callable[[Bus, Ack | None], Awaitable[T]], proxy: WorkloadName | None
) -> tuple[T, Ack | None]:
    """What `ask` finds, with what the proxy acknowledges, if one is meant and says something."""
    way, clock = named_mesh(), SystemClock()
    if proxy and sys.stderr.isatty():
        note(f"listening to {proxy}, which says every ten seconds what it has in force")

    async def main() -> tuple[T, Ack | None]:
        async with operator_bus(way) as bus:
            ack = await acknowledged(bus, clock, proxy) if proxy else None
            return await ask(bus, ack), ack

    return run(main)


def _status(documents: Collection[Document], proxy: WorkloadName | None, ack: Ack | None) -> int:
    for document in documents:
        if not document.published:
            note(f"{document.subject}: nothing is published there")
    if proxy is not None and ack is None:
        note(f"{proxy}: said nothing within {ACK_SECONDS:.0f} s; is it connected to the bus?")
    silent = proxy is not None and ack is None
    return 1 if silent or not all(document.published for document in documents) else 0


def _documents(documents: Sequence[Document]) -> None:
    compared = any(one.in_force is not None for one in documents)
    columns = ("DOCUMENT", "PUBLISHED", *(("IN_FORCE", "STANDING") if compared else ()))
    console().print(table(columns, (_document(one, compared) for one in documents)))


def _document(one: Document, compared: bool) -> Cells:
    cells: Cells = (one.subject.removeprefix(_PREFIX), str(one.published or ""))
    if not compared:
        return cells
    standing = Text(one.standing, style=_STYLES.get(one.standing, ""))
    return (*cells, str(one.in_force or ""), standing)


def _endpoints(documents: Sequence[Document]) -> None:
    rows = [
        (*_endpoint(endpoint), document.name)
        for _, document in published.endpoints(documents)
        for endpoint in document.endpoints
    ]
    if rows:
        console().print(table((*_ENDPOINT, "SLICE"), rows))
    else:
        note("it has no endpoints")


def _endpoint(one: Endpoint) -> Cells:
    ports = ", ".join(f"{name}:{port}" if name else str(port) for name, port in one.ports.items())
    return (
        one.namespace,
        one.workload,
        one.address,
        ports,
        "yes" if one.ready else "no",
        str(one.proxy_port or "not meshed"),
        one.identity,
        one.zone,
    )


def _described(service: Service) -> str:
    ports = ", ".join(
        f"{port.name}:{port.port} ({port.hint})" if port.name else f"{port.port} ({port.hint})"
        for port in service.ports
    )
    told = f"service {service.name}.{service.namespace} at {', '.join(service.addresses) or 'no address'}"
    return printable(f"{told}, ports {ports or 'none'}")


def _acknowledged(ack: Ack) -> None:
    leaf = ack.leaf
    ends = leaf.not_after - SystemClock.now() if leaf else 0.0
    _pairs(
        {
            "proxy": f"{ack.namespace}/{ack.workload}",
            "version": ack.version,
            "identity": leaf.identity if leaf else "holds no leaf",
            "leaf": f"{leaf.serial}, ends in {about(ends)}" if leaf else "",
        }
    )


def _pairs(told: dict[str, Any]) -> None:
    width = max(map(len, told)) + 2
    for name, value in told.items():
        click.echo(f"{name:{width}}{printable(str(value) or '-')}")
