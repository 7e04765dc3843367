"""`tulle inject` and `tulle uninject`: manifests with proxies, and without."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from cli.options import mesh_option

if TYPE_CHECKING:
    from cli.cluster import Cluster
    from services.injector.manifests import Outcome
    from services.injector.options import Options

_BUS = "tls://tulle-nats.tulle.svc:4222"
_FILES = click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.File(encoding="utf-8")
)


@click.command()
@_FILES
@click.option(
    "--trust-anchors-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The mesh's trust anchors, PEM; by default those of the mesh directory, or of the cluster.",
)
@click.option(
    "--bus",
    metavar="URL",
    multiple=True,
    default=(_BUS,),
    show_default=True,
    help="Where proxies find NATS; several times if at several.",
)
@click.option("--trust-domain", default="cluster.local", show_default=True)
@click.option("--cluster-domain", default="cluster.local", show_default=True)
@click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="A default for all: NAME is an annotation without config.tulle.dev/, such as proxy-log-level.",
)
@mesh_option()
def inject(
    files: tuple[TextIO, ...],
    trust_anchors_file: Path | None,
    bus: tuple[str, ...],
    trust_domain: str,
    cluster_domain: str,
    settings: tuple[str, ...],
) -> None:
    """Add the proxy to every workload in FILE (- for standard input), as the injector does in a cluster.

    What is annotated `tulle.dev/inject: disabled` stays as it is, and so does everything that is no
    workload. Manifests go to standard output; what was done, and every warning, to standard error.

    \b
    Example:
      tulle inject deployment.yaml --trust-anchors-file anchors.pem | kubectl apply -f -
    """
    from services.injector.manifests import inject_text
    from services.injector.options import Mesh

    mesh = Mesh(
        bus=bus,
        trust_anchors=_anchors(trust_anchors_file),
        trust_domain=trust_domain,
        cluster_domain=cluster_domain,
        defaults=_defaults(settings),
    )
    _each(files, lambda text: inject_text(text, mesh))


@click.command()
@_FILES
def uninject(files: tuple[TextIO, ...]) -> None:
    """Take the proxy out of every workload in FILE (- for standard input); the inverse of `inject`.

    Annotations of `config.tulle.dev` and `tulle.dev/inject` stay: people wrote them.
    """
    from services.injector.manifests import uninject_text

    _each(files, uninject_text)


def _each(files: tuple[TextIO, ...], change: "Callable[[str], tuple[str, list[Outcome]]]") -> None:
    """Write what `change` makes of all files as one stream, once all of them are understood."""
    from services.injector.yaml_text import InvalidManifest

    done: list[str] = []
    for file in files:
        try:
            text, outcomes = change(file.read())
        except InvalidManifest as error:
            raise click.ClickException(f"{file.name}: {error}") from None
        except UnicodeDecodeError:
            raise click.ClickException(f"{file.name}: expected UTF-8") from None
        done.append(text if text.endswith("\n") or not text else text + "\n")
        for outcome in outcomes:
            _tell(outcome)
    # JSON documents need no mark, and YAML that begins with one has it.
    for number, text in enumerate(done):
        click.echo("---\n" * (number > 0 and text[:3] not in ("---", "")) + text, nl=False)


def _tell(outcome: "Outcome") -> None:
    from cli.output import printable

    name = f"{outcome.kind.lower()}/{outcome.name}"
    reason = f": {outcome.reason}" if outcome.reason else ""
    click.echo(printable(f"{name} {outcome.result}{reason}"), err=True)
    for warning in outcome.warnings:
        click.echo(printable(f"{name} warning: {warning}"), err=True)


def _anchors(path: Path | None) -> str:
    """The mesh's trust anchors, PEM: from a file, from the mesh directory, or from the mesh in a cluster."""
    from cli.options import named_way
    from common.errors import InvalidCertificate, InvalidSettings
    from common.x509 import chain_pem, load_certificates

    text: bytes | None = None
    if path is None:
        try:
            way = named_way()
        except click.UsageError:
            raise click.UsageError(
                "whom do proxies trust? expected --trust-anchors-file FILE or --mesh DIR"
            ) from None
        if way.directory is not None:
            path = way.directory.anchors_file
        elif way.cluster is not None:
            text = _anchors_in(way.cluster).encode()
    try:
        pem = path.read_bytes() if path is not None else text or b""
        return chain_pem(load_certificates(pem)).decode()
    except InvalidCertificate as error:
        raise InvalidSettings(f"{path or 'ConfigMap tulle-trust'}: {error}") from None


def _anchors_in(cluster: "Cluster") -> str:
    from cli.cluster import anchors
    from cli.mesh import run

    async def ask() -> str:
        async with cluster.client() as client:
            return await anchors(cluster, client)

    return run(ask)


def _defaults(settings: tuple[str, ...]) -> "Options":
    """Tulle's defaults with `NAME=VALUE` over them; raises UsageError that names every mistake."""
    from services.injector.annotations import PREFIX, said
    from services.injector.options import Options

    pairs = (text.partition("=") for text in settings)
    found = said({PREFIX + name: value for name, _, value in pairs}, {}, Options())
    if found.warnings:
        raise click.UsageError("; ".join(f"--set {w.removeprefix(PREFIX)}" for w in found.warnings))
    return found.options
