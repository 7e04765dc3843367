"""docs/checks.md: everything that `tulle check` looks at, from the checks themselves."""

import inspect
from collections.abc import Iterator
from functools import partial

from cli.checks.frame import Check, Group
from cli.checks.plan import EVERYTHING

HEAD = """# What `tulle check` looks at

*Written by `make docs` from `cli/checks/`; do not edit.*

`tulle check --pre` before installing, `tulle check` for the control plane, `tulle check --proxy` for the
proxies of every meshed namespace, or of one with `-n`. Which mesh is meant is told with `--mesh DIR` or
`TULLE_MESH`, or it is the one in the cluster that kubectl would mean; of a mesh directory only the groups
that need no Kubernetes are looked at.

√ is well. ‼ is a warning: it works, and something should be done all the same. × is a failure, and the exit
status 1. Each comes with what to do, and the place on this page. `--wait 5m` looks again at what fails, until
it does not or the time is up; `-o short` shows only what is not well, so that nothing is printed if all is;
`-o json` is for programs. After a check that all that follows needs, and that fails, nothing more is looked at.
"""


def page() -> str:
    """The page as it has to be."""
    return "\n".join([HEAD, *_lines()])


def _lines() -> Iterator[str]:
    for group in EVERYTHING:
        yield f"## {_title(group)}\n"
        for check in group.checks:
            yield f"### {check.anchor}\n"
            yield f"*{check.name[0].upper()}{check.name[1:]}.* {_looks_at(check)}\n"
            yield f"If not: {check.hint}{'' if check.hint[-1] in '?.' else '.'}\n"


def _title(group: Group) -> str:
    return group.name[0].upper() + group.name[1:]


def _looks_at(check: Check) -> str:
    look = check.look
    while isinstance(look, partial):
        look = look.func
    return " ".join((inspect.getdoc(look) or "").split())
