"""The application file: what it says, and what it is told when it is wrong."""

from pathlib import Path

import pytest

from demo.plan import BUILT_IN, InvalidApplication, Port, parse, read


def mistakes(text: str) -> list[str]:
    with pytest.raises(InvalidApplication) as refused:
        parse(text)
    return str(refused.value).splitlines()


def test_the_built_in_application_is_an_application_file() -> None:
    application = read(BUILT_IN)

    assert application.namespace == "shop"
    assert {workload.name: workload.replicas for workload in application.workloads} == {
        "traffic": 1,
        "web": 1,
        "books": 2,
        "authors": 3,
    }
    assert [(w.name, w.calls) for w in application.workloads if w.calls] == [
        ("traffic", ("web",)),
        ("web", ("books",)),
        ("books", ("authors",)),
    ]


def test_a_workload_needs_a_name_and_a_command_and_has_defaults_for_the_rest() -> None:
    application = parse("workloads: [{name: web, command: 'python3 -m http.server \"80 00\"'}]")

    web = application.workloads[0]
    assert application.namespace == "demo"
    assert web.argv == ("python3", "-m", "http.server", "80 00")
    assert (web.replicas, web.ports, web.meshed) == (1, (), True)


def test_ports_are_numbers_or_say_what_is_spoken_there() -> None:
    text = "workloads: [{name: db, command: x, ports: [80, {port: 5432, protocol: tulle.dev/tcp}]}]"

    assert parse(text).workloads[0].served == (
        Port(port=80),
        Port(port=5432, protocol="tulle.dev/tcp"),
    )


def test_all_mistakes_are_told_at_once_each_with_its_path_and_what_was_expected() -> None:
    text = """
namespace: Shop
colour: red
workloads:
  - name: a_b
    command: 3
    ports: [80, 99999]
    replicas: 0
  - nam: c
  - 7
  - {name: ok, command: "x 'y", ports: [80, 80], calls: [ok, nobody], replica_env: {4: {A: b}}}
  - {name: ok, command: []}
  - {name: env, command: x, env: {A: 1}}
"""

    assert mistakes(text) == [
        "colour: not known; expected one of workloads, namespace, about",
        "workloads[0].command: Expected `str | array`, got `int`",
        "workloads[0].replicas: Expected `int` >= 1",
        "workloads[0].ports[1]: Expected `int` <= 65535",
        "workloads[1].nam: not known; expected one of name, command, replicas, ports, env,"
        " replica_env, meshed, calls",
        "workloads[1].name: missing",
        "workloads[1].command: missing",
        "workloads[2]: expected a mapping, got 7",
        "workloads[5].env[...]: Expected `str`, got `int`",
        "namespace 'Shop': expected a DNS label such as 'web-1'",
        "workloads[4].name: 'ok' is there twice",
        "workloads[3].command: No closing quotation",
        "workloads[3].ports: a port is there twice",
        "workloads[3].calls[1]: no workload is called 'nobody'",
        "workloads[3].replica_env.4: expected a number from 1 to 1",
        "workloads[4].command: expected the program and its arguments",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "document: expected a mapping, got None"),
        ("[]", "document: expected a mapping, got []"),
        ("workloads: []", "workloads: expected a list of at least one workload"),
        ("workloads: web", "workloads: expected a list of at least one workload"),
        ("{}", "workloads: expected a list of at least one workload"),
        (
            "namespace: 3\nworkloads: [{name: a, command: b}]",
            "namespace: Expected `str`, got `int`",
        ),
    ],
)
def test_what_is_no_application_is_refused(text: str, expected: str) -> None:
    assert mistakes(text) == [expected]


def test_broken_yaml_is_told_with_its_line() -> None:
    (mistake,) = mistakes("workloads:\n  - name: [")

    assert "line 2" in mistake


def test_mistakes_in_a_file_carry_its_name(tmp_path: Path) -> None:
    path = tmp_path / "app.yaml"
    path.write_text("workloads: []\ncolour: red\n")

    with pytest.raises(InvalidApplication) as refused:
        read(path)

    assert [line.partition(": ")[0] for line in str(refused.value).splitlines()] == [str(path)] * 2


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidApplication, match=r"none\.yaml: No such file"):
        read(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidApplication, match=r"b\.yaml: not UTF-8"):
        read(tmp_path / "b.yaml")
