"""The mesh directory: where the keys, certificates and settings of a mesh lie.

    trust/anchor.pem anchor.key      the trust anchors; the first one's key is only needed to make issuers
    trust/rotation.json cross.pem    how far a rotation is; new anchors, vouched for by those before them
    trust/ and issuer/ {old,new}.*   while a rotation is under way: what goes, and what comes
    issuer/issuer.pem issuer.key     what signs leaves; or tls.crt, tls.key, ca.crt, as cert-manager has them
    tokens/tokens.pem tokens.key     public keys that join tokens are checked with; what signs them
    nats/nats.conf server.pem server.key account.seed callout.seed
    nats/NODE.conf                   instead of nats.conf, where several nodes know each other
    nats/servers.json                what bootstrap was told of them
    keys/ROLE.seed                   the nkey of each service, and of a person with all rights
    keys/system.seed                 identity's nkey in the system account of NATS
    keys/rotation.json               how far a rotation of the bus's own keys is, and how old they are
    keys/ nats/ tokens/ {old,new}.*  while that is under way: the keys that go, and those that come
    people.json                      who else may use the bus, and as what; public keys only
    bus.json                         where the bus is, and the trust domain; written last

Keys are readable by their owner only (0600), and so are the folders (0700). In the file of an anchor's or an
issuer's key its certificates follow: two files cannot be replaced in one step, and these two must fit.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import InvalidCertificate, InvalidSettings
from common.files import replace
from common.x509 import chain_pem, key_pem, load_certificates, load_key, load_public_keys
from services.identity import nkey, xkey
from services.identity.permissions import Role
from services.identity.roots import Pair

PUBLIC = 0o644
"""The mode of files that are no secret."""
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
Side = Literal["old", "new"]
"""Of a rotation: what goes, and what comes."""


class BusSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in `bus.json`."""

    servers: tuple[str, ...]
    trust_domain: str
    person: str = ""
    """Whose folder this is: the name of a person, who has `keys/person.seed`. See credentials."""


@dataclass(frozen=True)
class MeshDirectory:
    """The places in a mesh directory, and what lies there.

    What is missing or malformed raises InvalidSettings with the path and what was expected there.
    """

    root: Path

    @property
    def anchors_file(self) -> Path:
        """The trust anchors, PEM."""
        return self.root / "trust" / "anchor.pem"

    @property
    def anchor_key_file(self) -> Path:
        """The key of the first anchor."""
        return self.root / "trust" / "anchor.key"

    @property
    def rotation_file(self) -> Path:
        """How far a rotation of the anchor is; not there before the first one."""
        return self.root / "trust" / "rotation.json"

    @property
    def key_rotation_file(self) -> Path:
        """How far a rotation of the bus's own keys is; not there before the first one."""
        return self.root / "keys" / "rotation.json"

    @property
    def servers_file(self) -> Path:
        """What the configurations of nats-server are made from, beside keys."""
        return self.root / "nats" / "servers.json"

    @property
    def cross_file(self) -> Path:
        """Anchors, each vouched for by the one before it, the newest first, PEM."""
        return self.root / "trust" / "cross.pem"

    def anchor_files(self, side: Side) -> tuple[Path, Path]:
        """The anchors of one side of a rotation, and the first one's key."""
        return self.root / "trust" / f"{side}.pem", self.root / "trust" / f"{side}.key"

    def issuer_files(self, side: Side) -> tuple[Path, Path]:
        """The issuer of one side of a rotation, and its key."""
        return self.root / "issuer" / f"{side}.pem", self.root / "issuer" / f"{side}.key"

    @property
    def foreign(self) -> bool:
        """Whether the issuer is made by somebody else, in cert-manager's layout."""
        return (self.root / "issuer" / "tls.crt").exists()

    @property
    def foreign_anchors_file(self) -> Path:
        """The anchor of such an issuer."""
        return self.root / "issuer" / "ca.crt"

    @property
    def issuer_file(self) -> Path:
        """The issuer's certificate, then what leads to an anchor, PEM."""
        return self.root / "issuer" / ("tls.crt" if self.foreign else "issuer.pem")

    @property
    def issuer_key_file(self) -> Path:
        """The issuer's key."""
        return self.root / "issuer" / ("tls.key" if self.foreign else "issuer.key")

    @property
    def tokens_file(self) -> Path:
        """The public keys that join tokens are checked with, PEM."""
        return self.root / "tokens" / "tokens.pem"

    @property
    def tokens_key_file(self) -> Path:
        """The key that join tokens are signed with."""
        return self.root / "tokens" / "tokens.key"

    @property
    def nats_config_file(self) -> Path:
        """The configuration of nats-server."""
        return self.root / "nats" / "nats.conf"

    @property
    def server_file(self) -> Path:
        """The certificate of nats-server and what leads to an anchor, PEM."""
        return self.root / "nats" / "server.pem"

    @property
    def server_key_file(self) -> Path:
        """The key of nats-server's certificate."""
        return self.root / "nats" / "server.key"

    @property
    def account_file(self) -> Path:
        """The seed of the account nkey, which signs who is admitted to the bus."""
        return self.root / "nats" / "account.seed"

    @property
    def bus_file(self) -> Path:
        """Where the bus is."""
        return self.root / "bus.json"

    @property
    def callout_file(self) -> Path:
        """The seed of the xkey that opens what NATS asks."""
        return self.root / "nats" / "callout.seed"

    @property
    def people_file(self) -> Path:
        """Named people who may use the bus."""
        return self.root / "people.json"

    def node_config_file(self, node: str) -> Path:
        """The configuration of nats-server on a node of several."""
        return self.root / "nats" / f"{node}.conf"

    def seed_file(self, role: Role | Literal["system", "person"]) -> Path:
        """The nkey seed of a role, of identity in the system account, or of a named person."""
        return self.root / "keys" / f"{role}.seed"

    def read(self, path: Path) -> bytes:
        """A file of the directory; raises InvalidSettings."""
        try:
            return path.read_bytes()
        except OSError as error:
            raise InvalidSettings(f"{path}: {error.strerror}; expected a mesh directory") from None

    def bus(self) -> BusSettings:
        """Where the bus is, and the trust domain."""
        try:
            return msgspec.json.decode(self.read(self.bus_file), type=BusSettings)
        except msgspec.DecodeError as error:
            raise InvalidSettings(f"{self.bus_file}: {error}") from None

    def anchors(self) -> list[x509.Certificate]:
        """The trust anchors, with that of an issuer from elsewhere."""
        anchors = self.certificates(self.anchors_file)
        if self.foreign and self.foreign_anchors_file.exists():
            more = self.certificates(self.foreign_anchors_file)
            anchors += [anchor for anchor in more if anchor not in anchors]
        return anchors

    def anchors_pem(self) -> str:
        """The same, PEM: the bus shows a certificate below one of them."""
        return chain_pem(self.anchors()).decode()

    def anchor(self) -> Pair:
        """The first trust anchor, with its key."""
        return self.pair(self.anchors_file, self.anchor_key_file)

    def issuer(self) -> Pair:
        """What signs leaves."""
        return self.pair(self.issuer_file, self.issuer_key_file)

    def server(self) -> Pair:
        """The certificate of nats-server."""
        return self.pair(self.server_file, self.server_key_file)

    def token_keys(self) -> list[ec.EllipticCurvePublicKey]:
        """The public keys that join tokens are checked with."""
        try:
            return load_public_keys(self.read(self.tokens_file))
        except InvalidCertificate as error:
            raise InvalidSettings(f"{self.tokens_file}: {error}") from None

    def account(self) -> nkey.KeyPair:
        """What signs who is admitted to the bus."""
        return self.seed(self.account_file, nkey.ACCOUNT)

    def callout(self) -> xkey.BoxKey:
        """What opens the questions of NATS."""
        return self.box(self.callout_file)

    def user(self, role: Role | Literal["system", "person"]) -> nkey.KeyPair:
        """The nkey of a role, or of identity in the system account."""
        return self.seed(self.seed_file(role), nkey.USER)

    def seed(self, path: Path, kind: int) -> nkey.KeyPair:
        """The nkey in a file."""
        try:
            return nkey.load(self.read(path).decode("ascii", "replace"), kind)
        except InvalidCertificate as error:
            raise InvalidSettings(f"{path}: {error}") from None

    def box(self, path: Path) -> xkey.BoxKey:
        """The xkey in a file."""
        try:
            return xkey.load(self.read(path).decode("ascii", "replace"))
        except InvalidCertificate as error:
            raise InvalidSettings(f"{path}: {error}") from None

    def certificates(self, path: Path) -> list[x509.Certificate]:
        """The certificates in a file."""
        try:
            return load_certificates(self.read(path))
        except InvalidCertificate as error:
            raise InvalidSettings(f"{path}: {error}") from None

    def pair(self, path: Path, key_path: Path) -> Pair:
        """A key with its certificates; if those in `path` do not fit, with those beside the key."""
        chain, pem = self.certificates(path), self.read(key_path)
        try:
            key = load_key(pem)
            if chain[0].public_key() != key.public_key() and _CERTIFICATE in pem:
                chain = load_certificates(pem)
        except InvalidCertificate as error:
            raise InvalidSettings(f"{key_path}: {error}") from None
        if chain[0].public_key() != key.public_key():
            raise InvalidSettings(f"{key_path}: not the key of the certificate in {path}")
        return Pair(tuple(chain), key)


def beside(path: Path, side: Side) -> Path:
    """Where the key of one side of a rotation lies, if `path` is where it is used."""
    return path.with_name(f"{side}.{path.name}")


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file of the directory in one step, unless it holds that already. Raises OSError."""
    if not path.exists() or path.read_bytes() != data:
        replace(path, data, mode)


def write_pair(pair: Pair, path: Path, key_path: Path) -> None:
    """Write certificates and their key. Raises OSError.

    The key's file holds both, so that they fit at every moment: see MeshDirectory.pair.
    """
    chain = chain_pem(pair.chain)
    write(key_path, key_pem(pair.key) + chain)
    write(path, chain, PUBLIC)
