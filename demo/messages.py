"""What the launcher and its inner side say to each other: one JSON object a line, over pipes.

The launcher's end of the pipe closes when the launcher ends, however it ends: that is the sign for the
inner side to stop everything and to remove what is left.
"""

from typing import Annotated

import msgspec
from msgspec import Meta


class Answers(msgspec.Struct, frozen=True, tag=True):
    """Ready when a GET of `url` is answered with 200."""

    url: str


class Accepts(msgspec.Struct, frozen=True, tag=True):
    """Ready when something accepts connections at `host:port`."""

    host: str
    port: int


class Listens(msgspec.Struct, frozen=True, tag=True):
    """Ready when something listens on these ports in the program's own network namespace."""

    ports: tuple[int, ...]
    address: str


class Finishes(msgspec.Struct, frozen=True, tag=True):
    """Ready when it has ended with status 0."""


class Runs(msgspec.Struct, frozen=True, tag=True):
    """Ready as soon as it has been started."""


Readiness = Answers | Accepts | Listens | Finishes | Runs


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A process to run: in which network namespace (empty: the control plane's), ready when."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    ready: Readiness
    host: str = ""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A command that must end with status 0, with what it reads from its standard input."""

    argv: tuple[str, ...]
    text: str = ""


class Relay(msgspec.Struct, frozen=True, kw_only=True):
    """Connections to the inherited listening socket `fd` go to `host:port` inside."""

    fd: int
    host: str
    port: int


class Bring(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Launcher: bring all of this up, stage after stage; within a stage everything at once."""

    network: tuple[Step, ...]
    """What builds the network, in this order."""
    relays: tuple[Relay, ...]
    stages: tuple[tuple[Program, ...], ...]
    logs: str
    """The folder where `NAME.log` of each program goes."""
    patience: Annotated[float, Meta(gt=0)]
    """Seconds that each stage may take to be ready."""
    grace: Annotated[float, Meta(ge=0)]
    """Seconds that programs have to end after they were asked to."""


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Launcher: stop the last stage (those who only send), or everything, and say when that is done."""

    everything: bool


Order = Bring | Stop


class Up(msgspec.Struct, frozen=True, tag=True):
    """Inner side: everything is ready."""


class Stage(msgspec.Struct, frozen=True, tag=True):
    """Inner side: these programs are being started."""

    programs: tuple[str, ...]


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Inner side: this program did not come up; everything is being stopped."""

    program: str
    why: str


class Ended(msgspec.Struct, frozen=True, tag=True):
    """Inner side: this program ended while everything was up."""

    program: str
    status: int


class Stopped(msgspec.Struct, frozen=True, tag=True):
    """Inner side: what was to be stopped has ended."""


Event = Up | Stage | Failed | Ended | Stopped
orders: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
events: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def line(message: Order | Event) -> bytes:
    """A message as it goes over the pipe."""
    return msgspec.json.encode(message) + b"\n"
