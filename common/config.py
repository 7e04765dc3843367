"""Settings from the environment, read once, all mistakes told at once.

A program's settings are a frozen msgspec Struct. A field `report_seconds: float` is the variable
`TULLE_REPORT_SECONDS`; `Annotated[…, msgspec.Meta(…)]` bounds it and says in `description` what it is.
Lists are comma-separated. Nothing else in Tulle reads the environment.
"""

import os
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from common.errors import InvalidSettings

PREFIX = "TULLE_"
S = TypeVar("S", bound=msgspec.Struct)

Servers = Annotated[
    tuple[str, ...],
    Meta(
        min_length=1, description="addresses of NATS such as tls://nats:4222, with commas between"
    ),
]
File = Annotated[str, Meta(min_length=1, description="the path of a file")]
Listen = Annotated[str, Meta(pattern=r"^.+:\d+$", description="HOST:PORT")]


def environment() -> Mapping[str, str]:
    """The process's environment, for those who start other programs with it."""
    return os.environ


def variable(field: str) -> str:
    """The environment variable of a settings field: `admin_port` → `TULLE_ADMIN_PORT`."""
    return PREFIX + field.upper()


def load(settings: type[S], env: Mapping[str, str] | None = None) -> S:
    """Build `settings` from the environment (or `env`).

    Raises InvalidSettings that lists every mistake with its variable, what stood there and what was
    expected. An empty value counts as not given.
    """
    env = os.environ if env is None else env
    hints = get_type_hints(settings, include_extras=True)
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for field in msgspec.structs.fields(settings):
        text = env.get(variable(field.name), "")
        if not text:
            if field.required:
                mistakes.append(
                    f"{variable(field.name)}: not set; expected {_expected(hints[field.name])}"
                )
            continue
        raw: object = _split(text) if _is_list(field.type) else text
        try:
            values[field.name] = msgspec.convert(raw, hints[field.name], strict=False)
        except msgspec.ValidationError as error:
            mistakes.append(f"{variable(field.name)}={text!r}: {error}")
    known = {variable(field.name) for field in msgspec.structs.fields(settings)}
    mistakes.extend(_misspelled(name, known) for name in env if _is_near(name, known))
    if mistakes:
        raise InvalidSettings("\n".join(mistakes))
    return settings(**values)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_list(hint: Any) -> bool:
    plain = hint.__origin__ if get_origin(hint) is Annotated else hint
    return get_origin(plain) in (list, tuple)


def _expected(hint: Any) -> str:
    for meta in getattr(hint, "__metadata__", ()):
        if meta.description:
            return str(meta.description)
    return str(getattr(hint, "__name__", hint))


def _is_near(name: str, known: set[str]) -> bool:
    """True for a variable that differs from a known one only in `_`, as in TULLE_ADMINPORT."""
    plain = {k.replace("_", "") for k in known}
    return name.startswith(PREFIX) and name not in known and name.replace("_", "") in plain


def _misspelled(name: str, known: set[str]) -> str:
    right = next(k for k in known if k.replace("_", "") == name.replace("_", ""))
    return f"{name}: not a setting; expected {right}"
