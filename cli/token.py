"""`tulle token`: lets a workload join the mesh."""

import click

from cli.options import Duration, mesh_option, output_option

_MONTH = 31 * 86_400.0


@click.command()
@click.argument("workload", metavar="NAMESPACE/WORKLOAD")
@click.option(
    "--service-account", metavar="SA", required=True, help="The identity's service account."
)
@click.option(
    "--lifetime",
    type=Duration(1.0, _MONTH),
    default="1h",
    show_default=True,
    metavar="DURATION",
    help="How long it can be used to join; a workload that has joined needs it no more.",
)
@output_option("table", "json")
@mesh_option()
def token(workload: str, service_account: str, lifetime: float, form: str) -> None:
    """Issue a token with which WORKLOAD in NAMESPACE may join the mesh as service account SA.

    The token is printed on standard output. It attests once: whoever shows it first is the workload, and for
    two minutes the same host may show it again. Until then it is a secret: keep it in a file that only the
    workload's proxy can read, and name that file in TULLE_TOKEN_FILE.

    \b
    Example:
      (umask 077; tulle token shop/web-1 --service-account web > web-1.token)
    """
    from cli.borrowed import BUS, TOKENS, borrowed
    from cli.output import json
    from common.clock import SystemClock
    from common.errors import InvalidName, InvalidSettings
    from common.names import WorkloadName
    from services.identity import tokens

    try:
        named = WorkloadName.parse(workload)
        with borrowed(BUS, TOKENS) as mesh:
            if mesh.bus_file.exists() and not mesh.tokens_key_file.exists():
                raise InvalidSettings(
                    f"{mesh.tokens_key_file}: not there: this mesh knows no join tokens. In a cluster pods"
                    " show the token of their service account; `bootstrap --join-tokens` makes a mesh for"
                    " others as well"
                )
            issued = tokens.issue(
                mesh.read(mesh.tokens_key_file),
                named,
                service_account,
                trust_domain=mesh.bus().trust_domain,
                lifetime=lifetime,
                now=SystemClock.now(),
            )
    except InvalidName as error:
        raise click.UsageError(str(error)) from None
    print(json({"token": issued, "lifetime_seconds": lifetime}) if form == "json" else issued)
