"""Logging: one line per event, never patient data (no names, numbers, birth dates or file names of senders)."""

import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from types import TracebackType
from typing import TextIO

import structlog

from node.errors import NodeError
from node.settings import Logging

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class _Printer(structlog.PrintLogger):
    """Prints; a line that cannot be written is lost, and the work goes on.

    Whoever read the log has ended, or its disk is full.
    """

    def msg(self, message: str) -> None:
        with suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


class _Withholding(logging.Formatter):
    """What a library says of an error, without its text."""

    def format(self, record: logging.LogRecord) -> str:
        """As the standard one; of asyncio what happened alone: then it shows arguments and errors as they are."""
        said = copy(record)
        if record.exc_info and record.exc_info[1]:
            said.exc_info, said.exc_text = None, without_values(record.exc_info[1])
        text = super().format(said)
        return re.split(r"[(\n]", text, maxsplit=1)[0] if record.name == "asyncio" else text


def configure_logging(settings: Logging) -> None:
    """Send structured events to standard error, as text or as JSON lines."""
    level = getattr(logging, settings.level.upper())
    stream = sys.stderr
    # The pretty tracebacks print the local variables, and those hold patient data.
    renderers: list[structlog.types.Processor] = (
        [structlog.processors.ExceptionRenderer(_as_text), structlog.processors.JSONRenderer()]
        if settings.format == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write)]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Printer(stream),
    )
    # Libraries speak at warning and above only: pynetdicom's info lines would carry data set elements.
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Withholding("%(name)s %(levelname)s %(message)s"))
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler])


def without_values(error: BaseException) -> str:
    """A traceback with the lines of the code and the kinds of the errors, and no value.

    The text of an error that nobody foresaw may quote a name or a date of birth, as local variables do.
    """
    return "\n".join(_lines(error))


def withhold_values() -> None:
    """Have whatever ends this process, or a thread of it, print :func:`without_values`; for a process of its own."""
    sys.excepthook = lambda kind, error, trace: _print(error)
    threading.excepthook = lambda ended: _print(ended.exc_value)


def _lines(error: BaseException) -> Iterator[str]:
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None:
        yield from _lines(earlier)
        yield "and then:"
    yield "Traceback (most recent call last):"
    yield from (line.rstrip("\n") for line in traceback.format_tb(error.__traceback__))
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    yield (f"{kind}: {error}" if isinstance(error, NodeError) else f"{kind} (text withheld, it may quote a patient)")


def _print(error: BaseException | None) -> None:
    if error is not None and not isinstance(error, SystemExit):
        with suppress(OSError):
            sys.stderr.write(without_values(error) + "\n")


def _as_text(exc_info: ExcInfo) -> str:
    return without_values(exc_info[1])


def _write(out: TextIO, exc_info: ExcInfo) -> None:
    out.write("\n" + without_values(exc_info[1]))
