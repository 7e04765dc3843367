"""What must exist in JetStream: the streams of retained documents and of events, and the leases' bucket.

Identity makes sure of them, at its start and now and again; its replicas may do so at once. Nobody else may:
a stream says where what it holds is said again. The others wait until the streams are there.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from common.bus.client import Bus
from common.clock import Clock, SystemClock
from common.contract.subjects import EVENTS, LEASES, LIFECYCLES, STATE, TOKENS, WORKLOADS
from common.errors import BusUnavailable

_TIMEOUT = 5.0
_NOT_FOUND = 10059
_NAME_IN_USE = 10058
_EVENTS_AGE = timedelta(hours=24)
_EVENTS_BYTES = 256 * 1024 * 1024
_MOST_WORDS = 64
"""As many ports of a workload as destination believes to speak first."""
_LONGEST_WORD = 4096
_NANOSECONDS = 1_000_000_000
_CLUSTER_REPLICAS = 3

Config = dict[str, Any]

_RETAINED: Config = {
    "max_msgs_per_subject": 1,
    "discard": "old",
    "allow_direct": True,
    "allow_msg_ttl": True,
    "republish": {"src": "put.v1.>", "dest": "tulle.v1.>"},
}


_NO_ANSWER: Config = {"no_ack": True}
"""JetStream would say that it has stored a message wherever its author wants to hear that."""


def _bucket(name: str) -> Config:
    """A KV bucket is a stream of this shape (NATS ADR-8); each key may have its own time to live."""
    return {
        "subjects": [f"$KV.{name}.>"],
        "max_msgs_per_subject": 1,
        "discard": "new",
        "allow_direct": True,
        "allow_msg_ttl": True,
        # Whoever may write one key could remove all others with the header of a rollup.
        "allow_rollup_hdrs": False,
        "deny_delete": True,
    }


CONFIGS: dict[str, Config] = {
    STATE: {**_RETAINED, "subjects": ["put.v1.discovery.>", "put.v1.mesh.>"]},
    WORKLOADS: {**_RETAINED, "subjects": ["put.v1.workload.>"]},
    EVENTS: {
        "subjects": ["tulle.v1.events.>"],
        **_NO_ANSWER,
        "discard": "old",
        "max_age": int(_EVENTS_AGE.total_seconds()) * _NANOSECONDS,
        "max_bytes": _EVENTS_BYTES,
        "allow_direct": True,
    },
    # Apart from the events, and little of each: whoever says too much must not push out who is draining.
    LIFECYCLES: {
        "subjects": ["tulle.v1.learned.>", "tulle.v1.lifecycle.>"],
        **_NO_ANSWER,
        "discard": "old",
        "max_age": int(_EVENTS_AGE.total_seconds()) * _NANOSECONDS,
        "max_bytes": _EVENTS_BYTES,
        "max_msgs_per_subject": _MOST_WORDS,
        "max_msg_size": _LONGEST_WORD,
        "allow_direct": True,
    },
    f"KV_{LEASES}": _bucket(LEASES),
}
"""The streams of the mesh by name, as JetStream's API spells them."""
OF_IDENTITY: dict[str, Config] = {f"KV_{TOKENS}": _bucket(TOKENS)}
"""What identity alone may make and read."""


async def ensure(
    bus: Bus,
    configs: Mapping[str, Config] = CONFIGS,
    *,
    replicas: int | None = None,
    clock: Clock | None = None,
) -> None:
    """Create what is missing of `configs`; update what is configured otherwise or has too few replicas.

    Unless told, there are three replicas where NATS is a cluster, and one where it is not. A stream begins
    above all sequences that a lost one of its name can have reached: the clock in milliseconds. So
    followers of the old one obey the new one. Raises BusUnavailable.
    """
    first = int((clock or SystemClock()).now() * 1000)
    if replicas is None:
        replicas = _CLUSTER_REPLICAS if bus.connection.clustered else 1
    for name, config in configs.items():
        current = await _ask(bus, "INFO", name, {}, accept=_NOT_FOUND)
        if current is None:
            created = {**config, "storage": "file", "num_replicas": replicas, "first_seq": first}
            current = await _ask(bus, "CREATE", name, created, accept=_NAME_IN_USE)
        if current is None:  # somebody else was faster
            current = await _ask(bus, "INFO", name, {})
        if current is not None:
            wanted = {**config, "num_replicas": max(replicas, current.get("num_replicas", 1))}
            if _differs(current, wanted):
                await _ask(bus, "UPDATE", name, {**current, **wanted})


class _ApiError(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct):
    config: Config | None = None
    error: _ApiError | None = None


async def _ask(bus: Bus, what: str, name: str, config: Config, accept: int = 0) -> Config | None:
    """Ask JetStream's API; the stream's configuration, or None if the error is the one accepted."""
    payload = msgspec.json.encode({**config, "name": name}) if config else b""
    reply = await bus.ask(f"$JS.API.STREAM.{what}.{name}", payload, timeout=_TIMEOUT)
    try:
        answer = msgspec.json.decode(reply, type=_Answer)
    except msgspec.DecodeError as error:
        raise BusUnavailable(f"stream {name}: JetStream answered strangely: {error}") from None
    if answer.error is None:
        return answer.config
    if answer.error.err_code == accept:
        return None
    raise BusUnavailable(f"stream {name}: {what.lower()}: {answer.error.description}")


def _differs(current: Config, wanted: Config) -> bool:
    return any(current.get(key) != value for key, value in wanted.items())
