"""What docker-compose.yml and the Dockerfile say, read without Docker."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "docker-compose.yml"


class Mount(NamedTuple):
    """One entry under a container's `volumes`."""

    source: str
    target: str
    read_only: bool


class Container:
    """A service of the compose file; `raw` is its mapping, merges done."""

    def __init__(self, name: str, raw: dict[str, Any]) -> None:
        self.name = name
        self.raw = raw

    def __repr__(self) -> str:
        return f"<Container {self.name}>"

    @property
    def command(self) -> list[str]:
        return list(self.raw.get("command", ()))

    @property
    def module(self) -> str:
        """What `python -m` runs; empty for another program."""
        words = self.command
        return words[words.index("-m") + 1] if words[:1] == ["python"] and "-m" in words else ""

    @property
    def environment(self) -> dict[str, str]:
        return {name: str(value) for name, value in self.raw.get("environment", {}).items()}

    @property
    def target(self) -> str:
        """The stage of the Dockerfile that it is built from."""
        return str(self.raw["build"]["target"])

    @property
    def uid(self) -> int | None:
        """The user that the compose file chooses; None: the image's."""
        return int(self.raw["user"].split(":")[0]) if "user" in self.raw else None

    @property
    def mounts(self) -> list[Mount]:
        parts = [str(text).split(":") for text in self.raw.get("volumes", ())]
        return [Mount(part[0], part[1], part[2:] == ["ro"]) for part in parts]

    @property
    def pod(self) -> str:
        """The container whose network namespace it shares; its own name if it shares none."""
        kind, _, name = str(self.raw.get("network_mode", "")).partition(":")
        return name if kind == "service" else self.name


def document() -> dict[str, Any]:
    """The whole compose file, YAML merges done."""
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


def containers() -> dict[str, Container]:
    """Every service of the compose file by name."""
    return {name: Container(name, raw) for name, raw in document()["services"].items()}


class Stage(NamedTuple):
    """A stage of a Dockerfile: its name, the stage or image below it, its instructions in order."""

    name: str
    parent: str
    instructions: list[tuple[str, str]]

    def last(self, keyword: str) -> str:
        """The arguments of the last such instruction; empty if there is none."""
        return next((rest for word, rest in reversed(self.instructions) if word == keyword), "")


def stages(path: Path = ROOT / "Dockerfile") -> dict[str, Stage]:
    """The stages of a Dockerfile by name."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.M).replace("\\\n", " ")
    found: dict[str, Stage] = {}
    current: Stage | None = None
    for line in filter(None, (line.strip() for line in text.splitlines())):
        keyword, _, rest = line.partition(" ")
        if keyword == "FROM":
            parent, _, name = rest.partition(" AS ")
            current = found[name] = Stage(name, parent, [])
        elif current:
            current.instructions.append((keyword, rest))
    return found
