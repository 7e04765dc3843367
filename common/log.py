"""One line an event, for people (`plain`) or for machines (`json`).

    log = logging.getLogger(__name__)
    log.info("certified", extra=fields(identity=str(identity), serial=serial))

Nothing secret is ever a field: no token, no key, no seed.
"""

import logging
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

import msgspec

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["plain", "json"]

_encoder = msgspec.json.Encoder(enc_hook=str)


def fields(**values: object) -> dict[str, object]:
    """What a log call takes as `extra`, so that its fields are printed with the message."""
    return {"fields": values}


def setup(level: Level = "info", form: Format = "plain", stream: TextIO | None = None) -> None:
    """Log to `stream` (standard error) from now on; what was set up before is replaced."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Json() if form == "json" else Plain())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)
    # Third parties tell of every connection: their warnings are enough.
    for noisy in ("nats", "asyncio", "kubernetes_asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def set_level(level: Level) -> None:
    """Change how much is logged, at once."""
    logging.getLogger().setLevel(level.upper())


class Plain(logging.Formatter):
    """`12:00:00.000 info common.bus: connected server=127.0.0.1:4222`, a traceback below if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        moment = datetime.fromtimestamp(record.created, UTC)
        head = f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d} {record.levelname.lower()}"
        tail = "".join(f" {name}={_plain(value)}" for name, value in _fields(record).items())
        line = f"{head} {record.name}: {_one_line(record.getMessage())}{tail}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class Json(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        document: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        for name, value in _fields(record).items():
            document.setdefault(name, value)
        return _encoder.encode(document).decode()


def _fields(record: logging.LogRecord) -> dict[str, object]:
    given = getattr(record, "fields", None)
    return given if isinstance(given, dict) else {}


def _plain(value: object) -> str:
    text = str(value)
    if text and all(c.isprintable() and c not in ' "=\\' for c in text):
        return text
    return msgspec.json.encode(text).decode()


def _one_line(text: str) -> str:
    # What came over the wire must not be able to forge a second log line.
    return text if text.isprintable() else text.encode("unicode_escape").decode()
