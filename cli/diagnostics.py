"""`tulle diagnostics`: what destination published, and what a proxy has in force, with revisions."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.options import mesh_option, output_option

if TYPE_CHECKING:
    from common.names import ServiceName, WorkloadName

F = TypeVar("F", bound=Callable[..., Any])


def _proxy_option() -> Callable[[F], F]:
    return click.option(
        "--proxy",
        metavar="NS/POD",
        default="",
        help="Beside it, what this proxy has in force; it says so every ten seconds.",
    )


@click.group()
@mesh_option()
def diagnostics() -> None:
    """Show what destination published, and what a proxy has in force, with revisions.

    A revision is the number of the message in its stream: two that are equal are the same document.
    """


@diagnostics.command()
@click.argument("services", nargs=-1, required=True, metavar="SERVICE.NAMESPACE...")
@_proxy_option()
@output_option("table", "json")
@mesh_option()
def endpoints(services: tuple[str, ...], proxy: str, form: str) -> int:
    """Show the endpoints of services, as clients are told them.

    A service is named as clients name it, such as books.shop or books.shop.svc.cluster.local:8000.

    \b
    Examples:
      tulle diagnostics endpoints books.shop
      tulle diagnostics endpoints books.shop --proxy shop/web-1
    """
    from cli.diagnosing import of_services

    return of_services(
        [_service(one) for one in services], _workload(proxy), as_json=form == "json"
    )


@diagnostics.command()
@click.argument("ips", nargs=-1, required=True, metavar="IP...")
@_proxy_option()
@output_option("table", "json")
@mesh_option()
def address(ips: tuple[str, ...], proxy: str, form: str) -> int:
    """Show what lives at IP addresses: a service, or a workload."""
    from cli.diagnosing import of_addresses
    from common.errors import InvalidName
    from common.names import ip_token

    try:
        for ip in ips:
            ip_token(ip)
    except InvalidName as error:
        raise click.UsageError(str(error)) from None
    return of_addresses(ips, _workload(proxy), as_json=form == "json")


@diagnostics.command()
@click.argument("name", metavar="NS/POD")
@output_option("table", "json")
@mesh_option()
def workload(name: str, form: str) -> int:
    """Show what the proxy of a workload is told about itself, and whether it has that in force."""
    from cli.diagnosing import of_workload

    return of_workload(_named(name), as_json=form == "json")


@diagnostics.command()
@click.argument("name", metavar="NS/POD")
@output_option("table", "json")
@mesh_option()
def proxy(name: str, form: str) -> int:
    """Show everything that a proxy has in force, beside what is published.

    \b
    in force      the proxy has the revision that is published
    behind        it has an older one
    ahead         it has heard of a newer one than the NATS server that was asked
    not followed  it needs it, or has been asked for it, and has none
    gone          there is no such document (any more)

    The exit status is 1 if it is not heard of within eleven seconds, or is behind.
    """
    from cli.diagnosing import of_proxy

    return of_proxy(_named(name), as_json=form == "json")


def _service(text: str) -> "ServiceName":
    from common.errors import InvalidName
    from common.names import ServiceName

    name = ".".join(text.rpartition(":")[0 if ":" in text else 2].split(".")[:2])
    try:
        return ServiceName.parse(name)
    except InvalidName as error:
        raise click.UsageError(str(error)) from None


def _workload(text: str) -> "WorkloadName | None":
    return _named(text) if text else None


def _named(text: str) -> "WorkloadName":
    from common.errors import InvalidName
    from common.names import WorkloadName

    try:
        return WorkloadName.parse(text)
    except InvalidName as error:
        raise click.UsageError(str(error)) from None
