"""A root directory of its own for a program: this machine's programs, and nothing else of its files.

Made in a mount namespace of the program's own, which ends with it. Needs root.
"""

import ctypes
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/dev", "/proc")
PYTHON = (sys.prefix, sys.base_prefix, str(ROOT))
SEARCH = f"{sys.prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What PATH is in there: our own environment first, as in the images."""
_BIND, _REC, _REMOUNT, _RDONLY = 0x1000, 0x4000, 0x20, 0x1


def make_root(root: Path, hosts_file: Path) -> None:
    """Make `root` a memory file system that shows what programs need, with this /etc/hosts."""
    root.mkdir(exist_ok=True)
    mount("tmpfs", root, "tmpfs")
    root.chmod(0o755)
    for path in SYSTEM:
        _show(Path(path), root)
    show_python(root)
    bind(hosts_file, root / "etc" / "hosts")
    (root / "tmp").mkdir(exist_ok=True)


def show_python(root: Path) -> None:
    """Make Python and our checkout visible, unless they are: what was mounted over them may hide them."""
    for path in sorted(PYTHON, key=len):  # what holds another comes first
        _show(Path(path), root)


def inside(root: Path, path: str) -> Path:
    """Where the root's own `path` is for us."""
    return root / path.lstrip("/")


def memory(target: Path) -> None:
    """An empty file system in memory, at a folder that is made if need be."""
    target.mkdir(parents=True, exist_ok=True)
    mount("tmpfs", target, "tmpfs")


def bind(source: Path, target: Path, *, read_only: bool = False) -> None:
    """Show `source` at `target`, which is there."""
    mount(str(source), target, None, _BIND | _REC)
    if read_only:
        mount(None, target, None, _BIND | _REMOUNT | _RDONLY)


def freeze(root: Path) -> None:
    """Let nobody write to the root any more, but for what is mounted in it."""
    mount(None, root, None, _REMOUNT | _RDONLY)


def mount(source: str | None, target: Path, kind: str | None, flags: int = 0) -> None:
    """mount(2); OSError names the target."""
    libc = ctypes.CDLL(None, use_errno=True)
    words = [text.encode() if text is not None else None for text in (source, str(target), kind)]
    if libc.mount(*words, ctypes.c_ulong(flags), None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(target))


def _show(path: Path, root: Path) -> None:
    """Make a path of this machine visible in a root, at the same place."""
    target = inside(root, str(path))
    if path.is_symlink():
        target.symlink_to(path.readlink())
    elif path.exists() and not target.exists():
        target.mkdir(parents=True)
        bind(path, target)
