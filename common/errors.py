"""Every way in which the mesh says no, each with one word.

The word (`reason`) is the log field, the metric label and the value of the `tulle-error` header, so a
person who sees one finds the others with it.
"""

from typing import ClassVar


class MeshError(Exception):
    """The mesh could not do what was asked; `reason` says why in one word."""

    reason: ClassVar[str] = "mesh-error"


class InvalidName(MeshError):
    """A name of a service, workload or identity is not one; the message says where it broke."""

    reason = "invalid-name"


class InvalidSettings(MeshError):
    """The program cannot start as it was told; the message lists every mistake, one a line."""

    reason = "invalid-settings"


class InvalidMessage(MeshError):
    """A message on the bus is not what its subject promises; the message names the field's path."""

    reason = "invalid-message"


class InvalidToken(MeshError):
    """A token or proof does not show who its bearer is."""

    reason = "invalid-token"


class InvalidCertificate(MeshError):
    """A certificate, key or signing request is not what it must be."""

    reason = "invalid-certificate"


class Refused(MeshError):
    """A service on the bus understood the request and said no."""

    reason = "refused"


class BusUnavailable(MeshError):
    """The bus did not answer in time or is not connected."""

    reason = "bus-unavailable"


class RevisionConflict(MeshError):
    """Somebody else has written this document since the writer read it."""

    reason = "revision-conflict"


class LeaseLost(MeshError):
    """Another replica holds the lease now."""

    reason = "lease-lost"


class KubernetesUnavailable(MeshError):
    """The Kubernetes API did not answer, or was too busy: worth trying again, after `retry_after` seconds."""

    reason = "kubernetes-unavailable"

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class KubernetesRefused(MeshError):
    """The Kubernetes API said no, with an HTTP `status` and a word such as NotFound or Conflict (`cause`)."""

    reason = "kubernetes-refused"

    def __init__(self, message: str, status: int, cause: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.cause = cause
