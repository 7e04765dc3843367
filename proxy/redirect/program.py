"""The rules as a whole: what iptables-restore takes in one piece, and as commands that people read.

Law: applying a program twice leaves what applying it once leaves, and removing one leaves what was
there before it.
"""

import shlex
from collections.abc import Iterator

from proxy.redirect.rules import (
    INBOUND_CHAIN,
    JUMPS,
    OUTBOUND_CHAIN,
    Family,
    Interception,
    inbound,
    jump,
    outbound,
)

Command = tuple[str, ...]
"""Arguments of iptables after `-t nat`."""

CHAINS = (INBOUND_CHAIN, OUTBOUND_CHAIN)


def install(settings: Interception, family: Family, present: str = "") -> tuple[Command, ...]:
    """Commands that intercept as `settings` say, whatever an earlier run left.

    `present` is what `iptables -t nat -S` prints now.
    """
    rules = {
        INBOUND_CHAIN: tuple(inbound(settings, family)),
        OUTBOUND_CHAIN: tuple(outbound(settings)),
    }
    return (
        *_without_jumps(present),
        *(("-N", chain) for chain in CHAINS if not _has_chain(present, chain)),
        *(("-F", chain) for chain in CHAINS),
        *(("-A", chain, *rule) for chain in CHAINS for rule in rules[chain]),
        *(("-A", origin, *jump(chain)) for origin, chain in JUMPS),
    )


def remove(present: str) -> tuple[Command, ...]:
    """Commands that undo `install`, given what `iptables -t nat -S` prints now; none if it is not there."""
    ours = [chain for chain in CHAINS if _has_chain(present, chain)]
    return (
        *_without_jumps(present),
        *(("-F", chain) for chain in ours),
        *(("-X", chain) for chain in ours),
    )


def document(commands: tuple[Command, ...]) -> str:
    """The commands for `iptables-restore --noflush`, which applies all of them or none."""
    lines = ["*nat", *(_line(command) for command in commands), "COMMIT", ""]
    return "\n".join(lines)


def readable(binary: str, commands: tuple[Command, ...]) -> Iterator[str]:
    """The commands as they would be typed."""
    for command in commands:
        yield shlex.join((binary, "-t", "nat", *command))


def listing(commands: tuple[Command, ...]) -> str:
    """What `iptables -t nat -S` would print after these commands in an empty table."""
    return "\n".join(shlex.join(command) for command in commands if command[0] in ("-N", "-A"))


def _line(command: Command) -> str:
    # iptables-restore creates a chain with `:NAME - [0:0]`; only the nft variant knows -N there.
    if command[0] == "-N":
        return f":{command[1]} - [0:0]"
    return " ".join(f'"{word}"' if "/" in word else word for word in command)


def _has_chain(present: str, chain: str) -> bool:
    return f"-N {chain}" in present.splitlines()


def _without_jumps(present: str) -> Iterator[Command]:
    """Take away every jump to our chains, however often it is there."""
    for line in present.splitlines():
        words = shlex.split(line)
        if words[:1] == ["-A"] and words[1] not in CHAINS and words[-1] in CHAINS:
            yield ("-D", *words[1:])
