"""Settings: every mistake told at once, with its variable, what stood there and what was expected."""

from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from common.config import load
from common.errors import InvalidSettings


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    bus: Annotated[tuple[str, ...], Meta(description="a list of tls://HOST:PORT")]
    port: Annotated[int, Meta(ge=1, le=65535)] = 4143
    grace_seconds: float = 120.0
    log_format: Literal["plain", "json"] = "plain"
    transparent: bool = False


def mistakes(env: dict[str, str]) -> list[str]:
    with pytest.raises(InvalidSettings) as raised:
        load(Settings, env)
    return str(raised.value).splitlines()


def test_variables_become_fields_of_their_types() -> None:
    env = {
        "TULLE_BUS": "tls://a:4222, tls://b:4222",
        "TULLE_PORT": "80",
        "TULLE_GRACE_SECONDS": "1.5",
        "TULLE_LOG_FORMAT": "json",
        "TULLE_TRANSPARENT": "true",
        "PATH": "/bin",
    }

    assert load(Settings, env) == Settings(
        bus=("tls://a:4222", "tls://b:4222"),
        port=80,
        grace_seconds=1.5,
        log_format="json",
        transparent=True,
    )


def test_what_is_not_given_has_its_default_and_empty_is_not_given() -> None:
    env = {"TULLE_BUS": "tls://a:4222", "TULLE_PORT": ""}

    assert load(Settings, env) == Settings(bus=("tls://a:4222",))


def test_every_mistake_is_told_at_once() -> None:
    told = mistakes({"TULLE_PORT": "99999", "TULLE_LOG_FORMAT": "xml"})

    assert told == [
        "TULLE_BUS: not set; expected a list of tls://HOST:PORT",
        "TULLE_PORT='99999': Expected `int` <= 65535",
        "TULLE_LOG_FORMAT='xml': Invalid enum value 'xml'",
    ]


@pytest.mark.parametrize("value", [" ", "x", "1.5", "0", "-1", "1 2"])
def test_what_is_no_port_is_told(value: str) -> None:
    [told] = mistakes({"TULLE_BUS": "a", "TULLE_PORT": value})

    assert told.startswith(f"TULLE_PORT={value!r}: Expected")


def test_a_variable_that_is_nearly_one_is_told() -> None:
    assert mistakes({"TULLE_BUS": "a", "TULLE_LOGFORMAT": "json"}) == [
        "TULLE_LOGFORMAT: not a setting; expected TULLE_LOG_FORMAT"
    ]


def test_other_variables_of_the_mesh_are_for_other_programs() -> None:
    assert load(Settings, {"TULLE_BUS": "a", "TULLE_DIRECTORY": "x"}).bus == ("a",)
