"""Files that are whole or not there: whoever reads one never sees half of it."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def replace(path: Path, data: bytes, mode: int = 0o600, *, durable: bool = True) -> None:
    """Write a file in one step: after it, `path` holds all of `data`; if it fails, what it held before.

    A file that is not `durable` may be lost with the machine. Raises OSError.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner may enter, or see to it that it is one. Raises OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)
    return path
