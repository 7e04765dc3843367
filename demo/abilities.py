"""Can this machine intercept connections without root? If not: what is missing, and what installs it."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from demo.namespaces import ENTER

# Command → Debian package. Ordinary users have no sbin in their PATH.
TOOLS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
    "ip": "iproute2",
    "iptables": "iptables",
    "iptables-restore": "iptables",
}
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_TRY = """
mount -t tmpfs tulle /run &&
ip link add tulle type bridge &&
ip netns add a && ip link add va type veth peer name eth0 netns a && nsenter --net=/run/netns/a true &&
{ iptables-nft -t nat -S || iptables -t nat -S || iptables-legacy -t nat -S; } >/dev/null
"""
_TRY_SECONDS = 10


def search_path(path: str) -> str:
    """PATH with the folders of system tools at its end."""
    folders = [*filter(None, path.split(":")), *SBIN]
    return ":".join(dict.fromkeys(folders))


def hindrance(path: str) -> str:
    """Why connections cannot be intercepted here, in one line; empty if they can. `path` is PATH."""
    missing = [tool for tool in TOOLS if shutil.which(tool, path=path) is None]
    if missing:
        packages = " ".join(dict.fromkeys(TOOLS[tool] for tool in missing))
        return f"{', '.join(missing)} missing (sudo apt-get install {packages})"
    try:
        tried = subprocess.run(
            [*ENTER, "sh", "-c", _TRY],
            env={"PATH": path, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=_TRY_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"namespaces cannot be made here: {error}"
    if tried.returncode == 0:
        return ""
    said = " ".join(tried.stderr.split()) or f"exit status {tried.returncode}"
    return f"namespaces cannot be made here ({said})"


def temporary_parent() -> Path:
    """Where a temporary directory is visible inside too: /run is hidden there."""
    usual = Path(tempfile.gettempdir()).resolve()
    return Path("/tmp") if usual.is_relative_to("/run") else usual
