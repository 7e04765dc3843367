"""The names of the mesh: services, workloads, identities, and how the bus spells them.

Law: for every name, `parse(str(name)) == name`; two different names never share a subject token.
"""

import re
from ipaddress import ip_address

import msgspec

from common.errors import InvalidName

DEFAULT_TRUST_DOMAIN = "cluster.local"

# RFC 1123 label: what Kubernetes accepts for namespaces and services.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# RFC 1123 subdomain: pods and service accounts may contain dots.
_SUBDOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
)


def check_label(value: str, what: str) -> str:
    """Return `value` if it is a DNS label (RFC 1123); raise InvalidName naming `what` if not."""
    if not _LABEL.fullmatch(value):
        raise InvalidName(f"{what} {value!r}: expected a DNS label such as 'web-1'")
    return value


def check_subdomain(value: str, what: str) -> str:
    """Return `value` if it is a DNS subdomain (RFC 1123); raise InvalidName naming `what` if not."""
    if not _SUBDOMAIN.fullmatch(value):
        raise InvalidName(f"{what} {value!r}: expected a DNS name such as 'web-1' or 'web.1'")
    return value


def token(name: str) -> str:
    """Spell a name as one token of a subject: dots become `_`, which no Kubernetes name contains."""
    return name.replace(".", "_")


def untoken(spelled: str) -> str:
    """The name that `token` spelled so: `token(untoken(t)) == t`, and the other way round for names."""
    return spelled.replace("_", ".")


def ip_token(address: str) -> str:
    """Spell an IP address as one token: `10.0.0.1` → `10-0-0-1`, `::1` → `0000-…-0001` in full.

    IPv6 is spelled in full, so that every way to write one address is one token. Raises InvalidName.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        raise InvalidName(f"address {address!r}: expected an IPv4 or IPv6 address") from None
    return ip.exploded.replace(".", "-").replace(":", "-")


class ServiceName(msgspec.Struct, frozen=True, order=True):
    """A service: `name.namespace`."""

    namespace: str
    name: str

    def __post_init__(self) -> None:
        check_label(self.namespace, "namespace")
        check_label(self.name, "service")

    def __str__(self) -> str:
        return f"{self.name}.{self.namespace}"

    @classmethod
    def parse(cls, text: str) -> "ServiceName":
        """Read `name.namespace`; raises InvalidName."""
        name, dot, namespace = text.partition(".")
        if not dot:
            raise InvalidName(f"service {text!r}: expected NAME.NAMESPACE")
        return cls(namespace=namespace, name=name)


class WorkloadName(msgspec.Struct, frozen=True, order=True):
    """One running copy of a program: a pod, a compose container, a process on a host."""

    namespace: str
    name: str

    def __post_init__(self) -> None:
        check_label(self.namespace, "namespace")
        check_subdomain(self.name, "workload")

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> "WorkloadName":
        """Read `namespace/name`; raises InvalidName."""
        namespace, slash, name = text.partition("/")
        if not slash:
            raise InvalidName(f"workload {text!r}: expected NAMESPACE/NAME")
        return cls(namespace=namespace, name=name)


class Identity(msgspec.Struct, frozen=True, order=True):
    """Who a workload is: a service account in a namespace of a trust domain (SPIFFE-ID §2)."""

    namespace: str
    service_account: str
    trust_domain: str = DEFAULT_TRUST_DOMAIN

    def __post_init__(self) -> None:
        check_label(self.namespace, "namespace")
        check_subdomain(self.service_account, "service account")
        check_subdomain(self.trust_domain, "trust domain")

    def __str__(self) -> str:
        return self.uri

    @property
    def uri(self) -> str:
        """The SPIFFE ID: `spiffe://<trust-domain>/ns/<namespace>/sa/<service-account>`."""
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    @property
    def dns_name(self) -> str:
        """The name for SNI and ordinary hostname checks."""
        return (
            f"{self.service_account}.{self.namespace}.serviceaccount.identity.tulle"
            f".{self.trust_domain}"
        )

    @classmethod
    def parse(cls, uri: str) -> "Identity":
        """Read a SPIFFE ID of this mesh's shape; raises InvalidName."""
        match uri.split("/"):
            case ["spiffe:", "", domain, "ns", namespace, "sa", account]:
                return cls(namespace=namespace, service_account=account, trust_domain=domain)
        raise InvalidName(
            f"identity {uri!r}: expected spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT"
        )
