"""The mesh directory: where the keys, certificates and settings of a mesh lie.

    trust/anchor.pem anchor.key      the trust anchors; the key is only needed to make issuers
    issuer/issuer.pem issuer.key     what signs leaves
    tokens/tokens.pem tokens.key     public keys that join tokens are checked with; what signs them
    nats/nats.conf server.pem server.key account.seed
    keys/ROLE.seed                   the nkey of each service, and of a person with all rights
    bus.json                         where the bus is, and the trust domain; written last

Keys are readable by their owner only (0600), and so are the folders (0700).
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import InvalidCertificate, InvalidSettings
from common.x509 import load_certificates, load_key, load_public_keys
from services.identity import nkey
from services.identity.permissions import Role
from services.identity.roots import Pair


class BusSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in `bus.json`."""

    servers: tuple[str, ...]
    trust_domain: str


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
    def issuer_file(self) -> Path:
        """The issuer's certificate, then what leads to an anchor, PEM."""
        return self.root / "issuer" / "issuer.pem"

    @property
    def issuer_key_file(self) -> Path:
        """The issuer's key."""
        return self.root / "issuer" / "issuer.key"

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

    def seed_file(self, role: Role) -> Path:
        """The nkey seed of a role."""
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
        """The trust anchors."""
        return self._certificates(self.anchors_file)

    def anchor(self) -> Pair:
        """The first trust anchor, with its key."""
        return self._pair(self.anchors_file, self.anchor_key_file)

    def issuer(self) -> Pair:
        """What signs leaves."""
        return self._pair(self.issuer_file, self.issuer_key_file)

    def server(self) -> Pair:
        """The certificate of nats-server."""
        return self._pair(self.server_file, self.server_key_file)

    def token_keys(self) -> list[ec.EllipticCurvePublicKey]:
        """The public keys that join tokens are checked with."""
        try:
            return load_public_keys(self.read(self.tokens_file))
        except InvalidCertificate as error:
            raise InvalidSettings(f"{self.tokens_file}: {error}") from None

    def account(self) -> nkey.KeyPair:
        """What signs who is admitted to the bus."""
        return self.seed(self.account_file, nkey.ACCOUNT)

    def user(self, role: Role) -> nkey.KeyPair:
        """The nkey of a role."""
        return self.seed(self.seed_file(role), nkey.USER)

    def seed(self, path: Path, kind: int) -> nkey.KeyPair:
        """The nkey in a file."""
        try:
            return nkey.load(self.read(path).decode("ascii", "replace"), kind)
        except InvalidCertificate as error:
            raise InvalidSettings(f"{path}: {error}") from None

    def _certificates(self, path: Path) -> list[x509.Certificate]:
        try:
            return load_certificates(self.read(path))
        except InvalidCertificate as error:
            raise InvalidSettings(f"{path}: {error}") from None

    def _pair(self, path: Path, key_path: Path) -> Pair:
        chain = self._certificates(path)
        try:
            key = load_key(self.read(key_path))
        except InvalidCertificate as error:
            raise InvalidSettings(f"{key_path}: {error}") from None
        if chain[0].public_key() != key.public_key():
            raise InvalidSettings(f"{key_path}: not the key of the certificate in {path}")
        return Pair(tuple(chain), key)
