"""Log lines: one event per line, as text or JSON, with the fields that are bound to the request.

Code logs by `structlog.get_logger(__name__)`; what Twisted and libraries log through their own loggers takes
the same way out. What is bound with `structlog.contextvars` (the request's ID) is part of each line.
"""

import contextlib
import logging
import sys
import threading
from collections.abc import Mapping
from typing import BinaryIO, Literal

import attrs
import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner
from zope.interface import implementer

Format = Literal["text", "json"]

LEVELS: Mapping[LogLevel, int] = {
    LogLevel.debug: logging.DEBUG,
    LogLevel.info: logging.DEBUG,  # ports opened and factories started: of interest to Twisted's developers
    LogLevel.warn: logging.WARNING,
    LogLevel.error: logging.ERROR,
    LogLevel.critical: logging.ERROR,  # an unhandled error in a Deferred is an error like others
}


def configure(level: str, log_format: Format, stream: BinaryIO | None = None) -> None:
    """Send everything that is logged in this process at `level` or above to `stream` (stderr).

    To be called once: loggers keep what they found at their first line.
    """
    number = logging.getLevelNamesMapping()[level]
    output = _Output(stream or sys.stderr.buffer)
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _name_of_logger,
        render_json if log_format == "json" else render_text,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=output.logger,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Bridge()], level=number, force=True)
    globalLogBeginner.beginLoggingTo([_from_twisted], redirectStandardIO=False)


def render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
    """The event as one line of JSON."""
    return msgspec.json.encode(_in_order(event), enc_hook=repr) + b"\n"


def render_text(_logger: WrappedLogger, _method: str, event: EventDict) -> bytes:
    """The event as one line for people; only a traceback takes further lines."""
    fields = _in_order(event)
    traceback = fields.pop("exception", None)
    head = [
        str(fields.pop("timestamp", "")),
        str(fields.pop("level", "")).upper().ljust(8),
        _plain(fields.pop("event", "")),
    ]
    lines = [" ".join(head + [f"{key}={_quoted(value)}" for key, value in fields.items()])]
    if traceback:
        # Indented, so that no text inside an exception can pass for a line of its own.
        lines += [f"    {_plain(line)}" for line in str(traceback).splitlines()]
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


class _Output(msgspec.Struct, frozen=True):
    """Where the lines go, whichever thread they come from."""

    stream: BinaryIO
    lock: threading.Lock = msgspec.field(default_factory=threading.Lock)

    def logger(self, name: str = "") -> "_Logger":
        return _Logger(name, self)

    def write(self, line: bytes) -> None:
        # A log that nobody can read any more (its pipe closed, its disk full) must not stop the server.
        with self.lock, contextlib.suppress(OSError):
            self.stream.write(line)
            self.stream.flush()


@attrs.frozen
class _Logger:
    """What structlog calls with each finished line."""

    name: str
    output: _Output

    def msg(self, line: bytes) -> None:
        self.output.write(line)

    debug = info = warning = error = critical = msg


class _Bridge(logging.Handler):
    """What libraries log by the standard library's `logging`."""

    def emit(self, record: logging.LogRecord) -> None:
        level = min(
            max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL
        )  # those that structlog knows
        structlog.get_logger(record.name).log(level, record.getMessage(), exc_info=record.exc_info)


@implementer(ILogObserver)
def _from_twisted(event: LogEvent) -> None:
    level = LEVELS.get(event.get("log_level", LogLevel.info), logging.INFO)
    failure = event.get("log_failure")
    error = None if failure is None else (failure.type, failure.value, failure.getTracebackObject())
    text = formatEvent(event) or ("" if failure is None else failure.getErrorMessage())
    name = str(event.get("log_namespace", "twisted"))
    structlog.get_logger(name).log(level, text, exc_info=error)


def _name_of_logger(logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    if logger.name:
        event["logger"] = logger.name
    return event


def _in_order(event: EventDict) -> dict[str, object]:
    """The fields as they are best read: when, how bad, what; then the rest."""
    first = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    return {**first, **event}


def _plain(value: object) -> str:
    """`value` without what would break the line or drive a terminal."""
    text = str(value)
    return text if text.isprintable() else ascii(text)[1:-1]


def _quoted(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and text and not set(text) & set(" \"'=") else ascii(text)
