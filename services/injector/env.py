"""Variables that a proxy gets besides its own: `config.tulle.dev/proxy-additional-env`, a JSON list."""

import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta

# What the injector sets itself: another value would make a proxy that knows itself wrongly.
_SET = (
    "NAMESPACE WORKLOAD SERVICE_ACCOUNT UID OWNER ZONE BUS TRUST_ANCHORS_FILE TOKEN_FILE STATE_DIR"
    " TRUST_DOMAIN CLUSTER_DOMAIN OUTBOUND_LISTEN INBOUND_LISTEN ADMIN_LISTEN"
)
RESERVED = frozenset(f"TULLE_{name}" for name in re.split(" ", _SET))
_Key = Annotated[str, Meta(pattern=r"^[-._a-zA-Z0-9]{1,253}$")]
_Name = Annotated[str, Meta(pattern=r"^[a-zA-Z_][a-zA-Z0-9_.-]{0,252}$")]
# What Kubernetes lets an environment refer to; it refuses a pod that names anything else.
_FieldPath = Annotated[
    str,
    Meta(
        pattern=r"^(metadata\.(name|namespace|uid)|metadata\.(labels|annotations)\['[-._/a-zA-Z0-9]+'\]"
        r"|spec\.(nodeName|serviceAccountName)|status\.(hostIPs?|podIPs?))$"
    ),
]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Nothing that is not named here."""


class KeyRef(_Strict, frozen=True, omit_defaults=True):
    """One key of a Secret or ConfigMap."""

    name: _Key
    key: _Key
    optional: bool = False


class FieldRef(_Strict, frozen=True):
    """Something about the pod."""

    fieldPath: _FieldPath


class Source(_Strict, frozen=True, omit_defaults=True):
    """Where a value comes from: exactly one of these."""

    fieldRef: FieldRef | None = None
    secretKeyRef: KeyRef | None = None
    configMapKeyRef: KeyRef | None = None

    def __post_init__(self) -> None:
        if [self.fieldRef, self.secretKeyRef, self.configMapKeyRef].count(None) != 2:
            raise ValueError("expected one of fieldRef, secretKeyRef and configMapKeyRef")


class Variable(_Strict, frozen=True, omit_defaults=True):
    """A variable with its value, or where that comes from."""

    name: _Name
    value: str = ""
    valueFrom: Source | None = None

    def __post_init__(self) -> None:
        if self.value and self.valueFrom:
            raise ValueError("expected a value or valueFrom, not both")
        if self.name in RESERVED:
            raise ValueError(f"{self.name} is the injector's to set")

    @property
    def plain(self) -> dict[str, Any]:
        """As it stands in a container."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found if self.valueFrom else {"name": self.name, "value": self.value}


_decoder = msgspec.json.Decoder(list[Variable])


def variables(text: str) -> tuple[Variable, ...]:
    """Read `[{"name": …, "value": …}, …]`; raises ValueError."""
    try:
        return tuple(_decoder.decode(text))
    except msgspec.DecodeError as error:
        raise ValueError(
            f'{error}; expected a JSON list such as [{{"name": "A", "value": "b"}}]'
        ) from None


def merged(*layers: tuple[Variable, ...]) -> tuple[Variable, ...]:
    """All of them, each name once: what comes later wins, and stands where the first stood."""
    return tuple({v.name: v for layer in layers for v in layer}.values())
