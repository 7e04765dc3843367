"""`tulle install` and `tulle uninstall`: the manifests of the control plane, for kubectl."""

import click

_NOT_OURS = ("Namespace",)


class _Explaining(click.Command):
    """Lists the keys of --set, which are only imported when somebody asks."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Every key with what it is."""
        from cli.keys import listed

        with formatter.section("Keys of --set"):
            formatter.write_dl(list(listed()))


@click.command(cls=_Explaining)
@click.option(
    "--ha",
    is_flag=True,
    help="Three NATS servers, several of each service, each on a machine of its own (three at least), "
    "and no pod starts without its proxy. To be chosen with the first install.",
)
@click.option("--image", metavar="IMAGE", help="Of the control plane, instead of tulle-control.")
@click.option("--proxy-image", metavar="IMAGE", help="Of proxies, instead of tulle-proxy.")
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, help="See below; repeatable."
)
def install(
    ha: bool, image: str | None, proxy_image: str | None, settings: tuple[str, ...]
) -> None:
    """Print what a cluster needs to be a mesh; no cluster is asked.

    The same again changes nothing. Without options it is what `kubectl apply -f k8s/` would apply, to the byte.

    \b
    Examples:
      tulle install | kubectl apply -f -
      tulle install --ha --image registry.example.org/tulle-control:0.1.0 \\
        --proxy-image registry.example.org/tulle-proxy:0.1.0 | kubectl apply -f -
    """
    from cli.availability import make_available
    from cli.keys import apply, images
    from cli.manifests import Manifests

    manifests = Manifests()
    if ha:
        make_available(manifests)
    try:
        images(manifests, image, proxy_image)
    except ValueError as error:
        raise click.UsageError(f"--image or --proxy-image: {error}") from None
    mistakes = apply(manifests, settings)
    if mistakes:
        raise click.UsageError("; ".join(f"--set {mistake}" for mistake in mistakes))
    click.echo(manifests.text(), nl=False)


@click.command()
@click.option(
    "--everything",
    is_flag=True,
    help="The namespace tulle too, and with it the keys of the mesh and what NATS holds.",
)
def uninstall(everything: bool) -> None:
    """Print what to delete, the last installed first; the inverse of `install`.

    First goes the webhook, so that pods start while the rest goes. Pods with a proxy keep it until they are
    restarted: take `tulle.dev/inject` off their namespaces and restart them before.

    The mesh itself stays, unless --everything is given: its keys in the Secret tulle-mesh, the Secrets and the
    ConfigMap that were made from it, the volumes of NATS, and the finished Jobs of installs with options. With
    them a later install is the same mesh again; without them it is another one, which no proxy trusts yet.

    \b
    Example:
      tulle uninstall | kubectl delete --ignore-not-found -f -
    """
    from cli.manifests import MARK, Manifests
    from services.injector.yaml_text import dump

    for item in reversed(list(Manifests())):
        if item["kind"] in _NOT_OURS and not everything:
            continue
        metadata = {k: v for k, v in item["metadata"].items() if k in ("name", "namespace")}
        named = {"apiVersion": item["apiVersion"], "kind": item["kind"], "metadata": metadata}
        click.echo(MARK + dump(named), nl=False)
