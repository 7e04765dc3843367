"""The peers' certificates: from the mesh's own issuer, so that all handshakes check the same kind of chain."""

from pathlib import Path

import msgspec
from cryptography.x509 import load_der_x509_certificate

from common.clock import SystemClock
from common.files import private_folder, replace
from common.names import DEFAULT_TRUST_DOMAIN, Identity, WorkloadName
from common.x509.certificates import chain_pem, signing_request
from common.x509.keys import generate_key, key_pem
from services.identity.authority import Authority
from services.identity.directory import MeshDirectory


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What one side of a pair shows to the other."""

    identity: Identity
    pem: Path
    """Chain, leaf first, and key."""


class Pki(msgspec.Struct, frozen=True, kw_only=True):
    """What both sides of a pair need."""

    anchors: Path
    outbound: Held
    inbound: Held


def make(mesh: MeshDirectory, folder: Path, namespace: str) -> Pki:
    """Sign a leaf for each side and write it into `folder`."""
    private_folder(folder)
    authority = Authority(mesh.issuer())
    held = {side: _leaf(authority, folder, namespace, side) for side in ("outbound", "inbound")}
    return Pki(anchors=mesh.anchors_file, **held)


def _leaf(authority: Authority, folder: Path, namespace: str, side: str) -> Held:
    workload = WorkloadName(namespace, f"{side}-1")
    identity = Identity(namespace, side, DEFAULT_TRUST_DOMAIN)
    key = generate_key()
    request = signing_request(identity, workload, key)
    issued = authority.certify(request, identity, workload, SystemClock.now())
    chain = chain_pem([load_der_x509_certificate(der) for der in issued.chain])
    pem = folder / f"{side}.pem"
    replace(pem, chain + key_pem(key))
    return Held(identity=identity, pem=pem)
