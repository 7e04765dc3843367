"""Finds an iptables that works here and hands it programs.

Tried in this order: `iptables-nft`, `iptables` (whatever the system made the default), `iptables-legacy`.
"""

import shutil
import subprocess
from typing import Literal

from common.errors import MeshError
from proxy.redirect.program import Command, document
from proxy.redirect.rules import Family

Mode = Literal["nft", "plain", "legacy"]
MODES: tuple[Mode, ...] = ("nft", "plain", "legacy")
INSTALL = "install it with: apt-get install iptables (Debian), apk add iptables (Alpine)"
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
"""Where iptables lives; ordinary users of Debian have no sbin in their PATH."""


class FirewallUnavailable(MeshError):
    """No iptables works here; the message says what was tried and what to do."""

    reason = "firewall-unavailable"


class Firewall:
    """One iptables of one address family; `binary` and `restore` are paths."""

    def __init__(self, family: Family, mode: Mode, binary: str, restore: str) -> None:
        self.family = family
        self.mode = mode
        self.binary = binary
        self._restore = restore

    def __repr__(self) -> str:
        return f"<Firewall IPv{self.family} {self.binary}>"

    def rules(self) -> str:
        """What is in the nat table now, as `iptables -S` prints it; raises FirewallUnavailable."""
        return self._run((self.binary, "-w", "-t", "nat", "-S"), "")

    def apply(self, commands: tuple[Command, ...]) -> None:
        """Apply all commands at once; on FirewallUnavailable none was applied."""
        if commands:
            self._run((self._restore, "-w", "--noflush"), document(commands))

    def _run(self, argv: tuple[str, ...], text: str) -> str:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            raise FirewallUnavailable(f"{argv[0]}: {said}")
        return done.stdout


def names(family: Family, mode: Mode) -> tuple[str, str]:
    """The programs of a mode: the one for single commands and the one for whole documents."""
    base = "iptables" if family == 4 else "ip6tables"
    kind = "" if mode == "plain" else f"-{mode}"
    return f"{base}{kind}", f"{base}{kind}-restore"


def find(family: Family, modes: tuple[Mode, ...] = MODES, path: str = _SBIN) -> Firewall:
    """The first mode that can read the nat table here; raises FirewallUnavailable."""
    tried: list[str] = []
    for mode in modes:
        binary, restore = names(family, mode)
        found = [shutil.which(name, path=path) for name in (binary, restore)]
        if found[0] is None or found[1] is None:
            tried.append(f"{binary}: not found")
            continue
        firewall = Firewall(family, mode, found[0], found[1])
        try:
            firewall.rules()
        except FirewallUnavailable as error:
            tried.append(str(error))
            continue
        return firewall
    raise FirewallUnavailable("\n".join([*tried, _advice(tried)]))


def _advice(tried: list[str]) -> str:
    if all(line.endswith("not found") for line in tried):
        return f"iptables is missing: {INSTALL}"
    return "intercepting needs the capabilities NET_ADMIN and NET_RAW in this network namespace"
