"""Annotations: what each does, what a namespace hands down, and that no value breaks a pod."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.injector import values
from services.injector.annotations import PREFIX, READERS, WITHOUT_EFFECT, said
from services.injector.decide import REASONS
from services.injector.options import Options

DEFAULTS = Options()
GOOD = {
    "proxy-image": ("registry.example.org:5000/tulle/proxy", "image"),
    "proxy-version": ("1.2.3", "version"),
    "image-pull-policy": ("Always", "pull_policy"),
    "inbound-port": ("5143", "inbound_port"),
    "outbound-port": ("5140", "outbound_port"),
    "admin-port": ("5191", "admin_port"),
    "skip-inbound-ports": ("25, 8000-8010", "skip_inbound_ports"),
    "skip-outbound-ports": ("", "skip_outbound_ports"),
    "skip-subnets": ("10.0.0.0/8,fd00::/8", "skip_subnets"),
    "opaque-ports": ("25,mysql", "opaque_ports"),
    "default-inbound-policy": ("deny", "default_policy"),
    "proxy-cpu-request": ("100m", "cpu_request"),
    "proxy-cpu-limit": ("1.5", "cpu_limit"),
    "proxy-memory-request": ("20Mi", "memory_request"),
    "proxy-memory-limit": ("1e9", "memory_limit"),
    "proxy-ephemeral-storage-request": ("1M", "storage_request"),
    "proxy-ephemeral-storage-limit": ("1G", "storage_limit"),
    "proxy-uid": ("3000", "uid"),
    "proxy-gid": ("3000", "gid"),
    "proxy-log-level": ("warn", "log_level"),
    "proxy-log-format": ("json", "log_format"),
    "proxy-outbound-connect-timeout": ("1500ms", "outbound_connect_seconds"),
    "proxy-inbound-connect-timeout": ("100ms", "inbound_connect_seconds"),
    "shutdown-grace-period": ("5m", "shutdown_grace_seconds"),
    "proxy-await": ("disabled", "wait"),
    "proxy-enable-native-sidecar": ("false", "native"),
    "proxy-wait-before-exit-seconds": ("5", "wait_before_exit_seconds"),
    "proxy-additional-env": ('[{"name": "A", "value": "b"}]', "env"),
}
WRONG = {
    "proxy-image": ["", "a b", "-x"],
    "proxy-version": ["", "a/b", "x" * 129],
    "image-pull-policy": ["always"],
    "inbound-port": ["0", "65536", "x", "80-90", "٣"],
    "skip-inbound-ports": ["80-70", "web", "1-2-3"],
    "skip-subnets": ["10.0.0.1/8", "all"],
    "opaque-ports": ["-web", "80-"],
    "default-inbound-policy": ["all"],
    "proxy-cpu-request": ["", "-1", "1 m", "ten", "1mi"],
    "proxy-uid": ["0", "-1", "root", "4294967296"],
    "proxy-gid": ["0", "-2"],
    "proxy-log-level": ["linkerd=info"],
    "proxy-outbound-connect-timeout": ["0s", "61s", "1", "1m30s"],
    "shutdown-grace-period": ["2h"],
    "proxy-await": ["true"],
    "proxy-enable-native-sidecar": ["enabled"],
    "proxy-wait-before-exit-seconds": ["-1", "3601"],
    "proxy-additional-env": [
        "x",
        "{}",
        '[{"name": "1"}]',
        '[{"name": "A", "valueFrom": {}}]',
        '[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]',
        '[{"name": "A", "valuefrom": {}}]',
        '[{"name": "TULLE_BUS", "value": "tls://elsewhere:4222"}]',
    ],
}


def test_every_annotation_has_an_example_here() -> None:
    assert GOOD.keys() == READERS.keys()


@pytest.mark.parametrize("name", GOOD)
def test_an_annotation_sets_its_option_from_the_pod_and_from_the_namespace(name: str) -> None:
    text, field = GOOD[name]
    key = PREFIX + name

    own, above = said({key: text}, {}, DEFAULTS), said({}, {key: text}, DEFAULTS)

    assert (own.warnings, own.invalid, own.inherited) == ((), (), {})
    assert getattr(own.options, field) != getattr(DEFAULTS, field)
    assert above.options == own.options
    assert above.inherited == {key: text}


@pytest.mark.parametrize(("name", "text"), [(n, text) for n in WRONG for text in WRONG[n]])
def test_a_value_that_is_none_leaves_the_default_and_a_warning(name: str, text: str) -> None:
    found = said({PREFIX + name: text}, {}, DEFAULTS)

    assert found.options == DEFAULTS
    assert found.invalid == (PREFIX + name,)
    (warning,) = found.warnings
    assert warning.startswith(f"{PREFIX}{name}: ")


def test_where_the_pod_is_not_understood_its_namespace_is_heard() -> None:
    key = PREFIX + "inbound-port"

    found = said({key: "x"}, {key: "5143"}, DEFAULTS)

    assert found.options.inbound_port == 5143
    assert found.inherited == {key: "5143"}


def test_the_pods_value_wins_and_is_not_handed_down() -> None:
    key = PREFIX + "proxy-log-level"

    found = said({key: "debug"}, {key: "error"}, DEFAULTS)

    assert (found.options.log_level, found.inherited) == ("debug", {})


def test_three_ports_that_are_not_three_are_all_left_alone() -> None:
    namespace = {PREFIX + "outbound-port": "5000", PREFIX + "proxy-await": "disabled"}

    found = said({PREFIX + "inbound-port": "5000"}, namespace, DEFAULTS)

    assert found.options.inbound_port == DEFAULTS.inbound_port
    assert found.options.outbound_port == DEFAULTS.outbound_port
    assert found.invalid == (PREFIX + "inbound-port",)
    assert list(found.inherited) == [PREFIX + "proxy-await"]
    assert "expected three different ports; used: 4143, 4140, 4191" in found.warnings[0]


def test_a_request_above_its_limit_becomes_the_limit() -> None:
    asked = {PREFIX + "proxy-memory-request": "1Gi", PREFIX + "proxy-memory-limit": "1000M"}

    found = said(asked, {}, DEFAULTS)

    assert (found.options.memory_request, found.options.memory_limit) == ("1000M", "1000M")
    assert found.warnings == ("the proxy's memory request 1Gi is above its limit; used: 1000M",)


@pytest.mark.parametrize("name", ["access-log", "proxy-uuid"])
def test_what_has_no_effect_is_told_and_stays(name: str) -> None:
    found = said({PREFIX + name: "x"}, {}, DEFAULTS)

    assert (found.options, found.invalid) == (DEFAULTS, ())
    assert "has no effect" in found.warnings[0]


def test_what_has_no_effect_is_not_read_as_well() -> None:
    assert not READERS.keys() & WITHOUT_EFFECT.keys()


def test_variables_are_merged_by_name_and_the_nearest_wins() -> None:
    key = PREFIX + "proxy-additional-env"
    above = '[{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]'
    own = (
        '[{"name": "B", "value": "2"},'
        ' {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]'
    )

    found = said({key: own}, {key: above}, DEFAULTS)

    assert [variable.plain for variable in found.options.env] == [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "2"},
        {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]


@pytest.mark.parametrize(
    ("text", "much"),
    [
        *(("1", 1), ("100m", "0.1"), ("1k", 1000), ("1Ki", 1024), ("2E", 2 * 10**18)),
        *(("1.5Gi", 1536 * 1024**2), ("1e-3", "0.001"), (".5", "0.5"), ("1E3", 1000)),
    ],
)
def test_amounts_are_what_kubernetes_takes_them_for(text: str, much: int | str) -> None:
    assert values.amount(values.quantity(text)) == Decimal(much)


@given(st.sampled_from(sorted(READERS)), st.text(max_size=20))
def test_no_text_is_too_strange(name: str, text: str) -> None:
    found = said({PREFIX + name: text}, {}, DEFAULTS)

    assert bool(found.invalid) == bool(found.warnings)


def test_the_guide_lists_every_annotation_and_every_reason() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "injection.md").read_text()

    assert not [name for name in READERS if f"`{name}`" not in guide]
    assert not [one for one in REASONS if one not in guide and "_at_ns" not in one]
