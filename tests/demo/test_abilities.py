"""Whether connections can be intercepted here, and what is said if not."""

from pathlib import Path

from demo import abilities


def test_missing_tools_are_named_with_the_command_that_installs_them(tmp_path: Path) -> None:
    for tool in ("unshare", "nsenter", "mount", "iptables", "iptables-restore"):
        (tmp_path / tool).write_text("#!/bin/sh\n")
        (tmp_path / tool).chmod(0o755)

    assert abilities.hindrance(str(tmp_path)) == "ip missing (sudo apt-get install iproute2)"


def test_a_package_is_named_once(tmp_path: Path) -> None:
    said = abilities.hindrance(str(tmp_path))

    assert said.endswith("(sudo apt-get install util-linux mount iproute2 iptables)")


def test_what_namespaces_fail_with_is_told_in_one_line(tmp_path: Path) -> None:
    for tool in abilities.TOOLS:
        said = "echo 'unshare failed:\n Operation not permitted' >&2; exit 1"
        (tmp_path / tool).write_text(f"#!/bin/sh\n{said}\n")
        (tmp_path / tool).chmod(0o755)

    assert abilities.hindrance(str(tmp_path)) == (
        "namespaces cannot be made here (unshare failed: Operation not permitted)"
    )


def test_tools_of_the_system_are_searched_even_if_the_users_path_lacks_them() -> None:
    assert abilities.search_path("/home/me/bin:/sbin").split(":") == [
        "/home/me/bin",
        "/sbin",
        "/usr/local/sbin",
        "/usr/sbin",
    ]
