"""The certificate of NATS itself: renewed where the server reads it, in time and with each new issuer."""

from collections.abc import Sequence

from cryptography import x509

from common.errors import InvalidSettings
from common.x509 import chain_pem, key_pem
from services.identity.directory import PUBLIC, MeshDirectory, write
from services.identity.material import crossed
from services.identity.roots import NODE, has_routes, is_old, make_server


def renew(
    mesh: MeshDirectory, now: float, hosts: Sequence[str] = (), *, routes: bool | None = None
) -> bool:
    """Write a new one if that is called for; says whether it was.

    It is for `hosts`, and with `routes` for the other nodes of a cluster as well; by default as it was.
    Raises InvalidSettings or OSError.
    """
    issuer = mesh.issuer()
    # Who was away knows an older anchor, and from one to the next gets to the one there is.
    chain = (*issuer.chain, *crossed(mesh, now))
    if mesh.server_file.exists():
        current, *above = mesh.certificates(mesh.server_file)
        hosts = hosts or named(current)
        routes = has_routes(current) if routes is None else routes
        stale = tuple(above) != chain or _is_stale(current, hosts, now, routes)
        if not stale and _has_its_key(mesh):
            return False
    made = make_server(issuer, hosts, now, routes=bool(routes))
    # NATS reads each for itself: if only one gets written, both are made again.
    write(mesh.server_key_file, key_pem(made.key))
    write(mesh.server_file, chain_pem((made.certificate, *chain)), PUBLIC)
    return True


def named(certificate: x509.Certificate) -> list[str]:
    """The names and addresses in a certificate under which NATS is reached."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names if name.value != NODE]


def _has_its_key(mesh: MeshDirectory) -> bool:
    """Whether the key beside it fits: whoever wrote both may have got no further than one."""
    try:
        mesh.server()
    except InvalidSettings:
        return False
    return True


def _is_stale(
    certificate: x509.Certificate, hosts: Sequence[str], now: float, routes: bool
) -> bool:
    if is_old(certificate, now) or has_routes(certificate) != routes:
        return True
    return set(named(certificate)) != set(hosts)
