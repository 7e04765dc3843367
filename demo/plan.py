"""The application file: which workloads there are and how to start them.

    namespace: shop
    about: The failures are meant.        # optional: said below the table
    workloads:
      - name: web                         # also its service, if it has ports, and its service account
        command: ["{python}", "-m", "demo.apps.web"]
        ports: [8000]
        replicas: 2
        env: {GREETING: hello}
        replica_env: {2: {DELAY_MS: "60"}}
        meshed: true
        calls: [books]                    # optional: connections that must carry traffic

In `command` and in values of `env`, `{python}` is the interpreter that runs the demo, `{address}` where the
program should listen, `{port}` its first port and `{replica}` its number from 1. The program also finds
the latter three in its environment, as HOST, PORT and REPLICA. Other workloads with ports are reached by
name (`books`, `books.shop`, `books.shop.svc.cluster.local`): where connections are not intercepted, by
meshed programs that honour `http_proxy`, and by no others.
"""

import shlex
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec
import yaml
from msgspec import Meta

from common.errors import InvalidName, MeshError
from common.names import check_label

BUILT_IN = Path(__file__).with_name("application.yaml")
PROTOCOLS = Path(__file__).with_name("protocols.yaml")
PortNumber = Annotated[int, Meta(ge=1, le=65535)]


class InvalidApplication(MeshError):
    """The application file is not one; the message lists every mistake, one a line."""

    reason = "invalid-application"


class Port(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A port that a workload serves on; `protocol` as in a Service's appProtocol, empty to detect."""

    port: PortNumber
    protocol: str = ""


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """A program of the application and how many copies of it run."""

    name: str
    command: tuple[str, ...] | str
    replicas: Annotated[int, Meta(ge=1, le=100)] = 1
    ports: tuple[PortNumber | Port, ...] = ()
    env: dict[str, str] = {}
    replica_env: dict[int, dict[str, str]] = {}
    meshed: bool = True
    calls: tuple[str, ...] = ()

    @property
    def argv(self) -> tuple[str, ...]:
        """The command as a list of words."""
        return tuple(shlex.split(self.command)) if isinstance(self.command, str) else self.command

    @property
    def served(self) -> tuple[Port, ...]:
        """The ports in their long form."""
        return tuple(p if isinstance(p, Port) else Port(port=p) for p in self.ports)


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """What to run in the mesh."""

    workloads: tuple[Workload, ...]
    namespace: str = "demo"
    about: str = ""
    """What people should know who look at the figures."""


def read(path: Path) -> Application:
    """Read an application file; raises InvalidApplication, which names the file."""
    try:
        return parse(path.read_text())
    except OSError as error:
        raise InvalidApplication(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidApplication(f"{path}: not UTF-8 text: {error}") from None
    except InvalidApplication as error:
        lines = str(error).splitlines()
        raise InvalidApplication("\n".join(f"{path}: {line}" for line in lines)) from None


def parse(text: str) -> Application:
    """Read an application from YAML; raises InvalidApplication with one line per mistake."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidApplication(" ".join(str(error).split())) from None
    mistakes: list[str] = []
    top = _fields(Application, tree, "", mistakes, leave=("workloads",))
    listed = tree.get("workloads") if isinstance(tree, dict) else None
    if isinstance(tree, dict) and (not isinstance(listed, list) or not listed):
        mistakes.append("workloads: expected a list of at least one workload")
        listed = []
    parsed = []
    for index, item in enumerate(listed or ()):
        before = len(mistakes)
        values = _fields(Workload, item, f"workloads[{index}].", mistakes)
        if len(mistakes) == before:
            parsed.append((f"workloads[{index}]", Workload(**values)))
    _check_names(str(top.get("namespace", "demo")), parsed, mistakes)
    names = {item.get("name") for item in listed or () if isinstance(item, dict)}
    for path, workload in parsed:
        _check(path, workload, names, mistakes)
    if mistakes:
        raise InvalidApplication("\n".join(mistakes))
    return Application(workloads=tuple(workload for _, workload in parsed), **top)


def _fields(
    struct: type[msgspec.Struct],
    tree: object,
    path: str,
    mistakes: list[str],
    leave: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Convert each field by itself, so that one mistake does not hide the next."""
    if not isinstance(tree, dict):
        mistakes.append(f"{path.rstrip('.') or 'document'}: expected a mapping, got {tree!r}")
        return {}
    known = {field.name: field for field in msgspec.structs.fields(struct)}
    hints = get_type_hints(struct, include_extras=True)
    mistakes.extend(
        f"{path}{name}: not known; expected one of {', '.join(known)}"
        for name in tree
        if name not in known
    )
    values: dict[str, Any] = {}
    for name, field in known.items():
        if name in leave:
            continue
        if name not in tree:
            if field.required:
                mistakes.append(f"{path}{name}: missing")
            continue
        try:
            values[name] = msgspec.convert(tree[name], hints[name])
        except msgspec.ValidationError as error:
            what, _, where = str(error).partition(" - at `")
            mistakes.append(f"{path}{name}{where.rstrip('`').removeprefix('$')}: {what}")
    return values


def _check_names(namespace: str, parsed: list[tuple[str, Workload]], mistakes: list[str]) -> None:
    seen: set[str] = set()
    try:
        check_label(namespace, "namespace")
    except InvalidName as error:
        mistakes.append(str(error))
    for path, workload in parsed:
        try:
            check_label(workload.name, f"{path}.name")
        except InvalidName as error:
            mistakes.append(str(error))
        if workload.name in seen:
            mistakes.append(f"{path}.name: {workload.name!r} is there twice")
        seen.add(workload.name)


def _check(path: str, workload: Workload, names: set[Any], mistakes: list[str]) -> None:
    """What the types cannot say."""
    try:
        empty = not workload.argv
    except ValueError as error:
        mistakes.append(f"{path}.command: {error}")
        empty = False
    if empty:
        mistakes.append(f"{path}.command: expected the program and its arguments")
    ports = [port.port for port in workload.served]
    if len(set(ports)) < len(ports):
        mistakes.append(f"{path}.ports: a port is there twice")
    mistakes.extend(
        f"{path}.calls[{index}]: no workload is called {name!r}"
        for index, name in enumerate(workload.calls)
        if name not in names
    )
    mistakes.extend(
        f"{path}.replica_env.{number}: expected a number from 1 to {workload.replicas}"
        for number in workload.replica_env
        if not 1 <= number <= workload.replicas
    )
